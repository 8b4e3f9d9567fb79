// SPDX-License-Identifier: GPL-2.0

//! Registration and deregistration of misc devices, by a work item of each device.
//!
//! `misc_register()` and `misc_deregister()` take a mutex that the kernel holds in `open` of any
//! misc device. A work item calls them, so that a driver does not wait for this mutex without
//! limit.

use super::{
    operations::{
        PLAIN,
        POLLED, //
    },
    Table, //
};
use crate::{
    bindings,
    container_of,
    device,
    error::to_result,
    new_spinlock,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        barrier::{
            smp_mb,
            Read, //
        },
        Arc,
        SetOnce,
        SpinLock, //
    },
    tether::{
        as_jiffies,
        is_opening,
        may_sleep,
        Attachment,
        AttachmentOps, //
        Owner,
        OwnerGuard,
    },
    time::Delta,
    types::Opaque,
    workqueue, //
};

// The phases of a device: the values of `Device::phase`.

/// The registration was requested, and the requester waits.
const REQUESTED: u32 = 0;
/// The device is registered, and can be opened.
const LIVE: u32 = 1;
/// `misc_register()` has failed.
const FAILED: u32 = 2;
/// The device cannot be opened any more: the requester has timed out or was killed, or the device
/// was deregistered, or will be deregistered.
const DEAD: u32 = 3;

/// A misc device.
///
/// # Invariants
///
/// * `phase` only changes from `REQUESTED` to any other phase, and from `LIVE` to `DEAD`.
/// * While `phase` is `REQUESTED` or `LIVE`, `table` is valid: the teardown of the owner waits for
///   the requester, or finds `attachment` and ends it, which sets `phase` to `DEAD`.
/// * While `attachment` is in its owner's list, the list owns a reference to the device. This
///   reference is dropped after the attachment was removed from the list.
/// * The first run of `work` registers `misc`. The task that removes the attachment from its
///   owner's list deregisters `misc`, or passes the guard of the removal to the second run of
///   `work`, which deregisters `misc`. If the requester has timed out, the first run deregisters
///   `misc` itself.
#[pin_data]
pub(super) struct Device {
    #[pin]
    attachment: Attachment,
    #[pin]
    pub(super) misc: Opaque<bindings::miscdevice>,
    /// The work item: the first run registers the device, the second run deregisters it.
    #[pin]
    work: workqueue::Work<Device>,
    pub(super) owner: &'static Owner,
    /// The functions of the driver, in the driver's module.
    pub(super) table: *const Table,
    /// The name that `misc` points to. This is a copy, because the driver's string may be unloaded
    /// before `misc` is deregistered.
    name: CString,
    phase: Atomic<u32>,
    /// The error of `misc_register()`, if `phase` is `FAILED`.
    error: Atomic<i32>,
    /// The guard that `drop_registration()` has removed the attachment with. The teardown of the
    /// owner waits for this guard, hence until the device is deregistered.
    #[pin]
    entered: SpinLock<Option<OwnerGuard>>,
    /// A reference to the device in sysfs, `misc.this_device`, which is dropped with this device.
    /// Set by the first run of the work if it has registered the device.
    device: SetOnce<ARef<device::Device>>,
}

// SAFETY: `Send` requires that another thread may use and drop the device. After the device is
// shared, `misc` is only changed by `misc_register()` and `misc_deregister()`, under the kernel's
// `misc_mtx`. By the type's invariants, they are called once each and never concurrently. `table`
// points to a constant. The other fields are `Send`.
unsafe impl Send for Device {}
// SAFETY: `Sync` requires that threads do not race on a shared device. After the device is shared,
// `misc` is only changed by `misc_register()` and `misc_deregister()`, which are never called
// concurrently by the type's invariants. `table` points to a constant. The other fields are `Sync`.
unsafe impl Sync for Device {}

workqueue::impl_has_work! {
    impl HasWork<Self> for Device { self.work }

}

/// The number of devices that the second run of their work will deregister, and of devices with a
/// requester that has timed out, while the first run of their work has not yet noticed.
///
/// The name of such a device may still be registered.
static DEREGISTERING: Atomic<u32> = Atomic::new(0);

/// The time limit of a registration.
const LIMIT: Delta = Delta::from_secs(10);

/// The maximum length of a device's name in bytes, which is that of a file name.
const NAME_MAX: usize = 255;

impl Device {
    /// Registers a device; see [`register()`](super::MiscDeviceRegistration::register).
    ///
    /// `ops` and `table` must be constants of the module of `owner`. `mode` is the permissions of
    /// the node in `/dev`, or 0 for the kernel's default.
    ///
    /// # Context
    ///
    /// Process context, may sleep.
    ///
    /// # Errors
    ///
    /// * those of `misc_register()`;
    /// * [`EINVAL`] if the caller must not sleep, or if `name` is empty or longer than
    ///   [`NAME_MAX`];
    /// * [`EDEADLK`] if the current task is in `open` of a misc device;
    /// * [`EBUSY`] if the device was not registered within [`LIMIT`];
    /// * [`EINTR`] if the current task was killed;
    /// * [`ENODEV`] if the module of `owner` is being torn down;
    /// * [`ENOMEM`] if there is not enough memory.
    #[inline(never)]
    pub(super) fn register(
        name: &CStr,
        mode: u16,
        owner: &'static Owner,
        table: &'static Table,
        ops: &'static AttachmentOps,
    ) -> Result<Arc<Self>> {
        if !may_sleep() {
            return Err(EINVAL);
        }
        // `misc_register()` takes `misc_mtx`. The kernel holds this mutex while the current task is
        // in `open`, so the wait below would last until its limit.
        if is_opening() {
            return Err(EDEADLK);
        }
        // The kernel warns about other names.
        if !(1..=NAME_MAX).contains(&name.to_bytes().len()) {
            return Err(EINVAL);
        }
        let name = CString::try_from(name)?;
        // INVARIANT: `phase` is `REQUESTED`, and `table` is valid because it is in the module of
        // the caller. `misc` is not registered, and the attachment is not in the list.
        let this = Arc::pin_init(
            try_pin_init!(Self {
                attachment <- Attachment::new(owner, ops),
                misc: Opaque::new(pin_init::zeroed()),
                work <- workqueue::new_work!("tether::misc_device::Device::work"),
                owner,
                table,
                name,
                phase: Atomic::new(REQUESTED),
                error: Atomic::new(0),
                entered <- new_spinlock!(None, "tether::misc_device::Device::entered"),
                device: SetOnce::new(),
            }? Error),
            GFP_KERNEL,
        )?;
        let fops = if table.poll.is_some() {
            &POLLED
        } else {
            &PLAIN
        };
        let misc = this.misc.get();
        // SAFETY: The writes require a valid pointer, and that no other task accesses `misc`. The
        // device was allocated above, and is not shared yet.
        unsafe {
            (*misc).minor = bindings::MISC_DYNAMIC_MINOR as c_int;
            (*misc).name = this.name.as_char_ptr();
            (*misc).fops = &fops.0;
            (*misc).mode = mode;
        }
        // INVARIANT: This reference belongs to the owner's list. If attaching fails, it is dropped
        // below.
        let listed = Arc::into_raw(this.clone());
        // SAFETY: `attach()` requires that the attachment stays valid and pinned until `detach()`
        // has returned, `try_detach()` has returned `Some`, or `release` has dropped the list's
        // reference. The device is pinned in an `Arc`. The list's reference keeps the device valid
        // until `release_attached()`, which is called after `end()` or after `try_detach()`.
        let attached = unsafe { this.attachment.attach(|| this.wait_until_registered()) };
        if attached.is_err() {
            // SAFETY: `from_raw()` requires a pointer that `Arc::into_raw()` has returned, and that
            // is converted back once. `listed` was returned above. As attaching has failed, the
            // attachment is in no list, and `release_attached()` is not called.
            drop(unsafe { Arc::from_raw(listed) });
        }
        attached?;
        Ok(this)
    }

    /// Queues the work that registers the device, and waits for it, for at most [`LIMIT`].
    ///
    /// The wait is limited because a task in `open` of a misc device, which delays the work, may
    /// wait for the caller.
    ///
    /// # Errors
    ///
    /// * the error of `misc_register()`;
    /// * [`EBUSY`] if the device was not registered within [`LIMIT`];
    /// * [`EINTR`] if the current task was killed.
    fn wait_until_registered(self: &Arc<Self>) -> Result {
        let mut left = as_jiffies(LIMIT) as c_long;
        // A device with the same name may still be registered although its registration was dropped
        // earlier. Wait for all deregistrations.
        loop {
            let others = DEREGISTERING.load(Acquire);
            if others == 0 {
                break;
            }
            left = wait_while(&DEREGISTERING, others, left)?;
        }
        if workqueue::system_long().enqueue(self.clone()).is_err() {
            // This does not happen: the work is new, so it is not queued.
            return Err(EBUSY);
        }
        let Err(error) = wait_while(&self.phase, REQUESTED, left) else {
            return self.registered();
        };
        // The wait has timed out or was killed. The work may nevertheless register the name, and
        // deregister it at once. Other requesters wait for this, so count the device before `phase`
        // is set to `DEAD`.
        DEREGISTERING.fetch_add(1u32, Full);
        if self.phase.cmpxchg(REQUESTED, DEAD, Full).is_ok() {
            return Err(error);
        }
        Self::deregistered();
        self.registered()
    }

    /// Returns the result of the registration by the work.
    ///
    /// # Errors
    ///
    /// The error of `misc_register()`.
    fn registered(&self) -> Result {
        match self.phase.load(Acquire) {
            LIVE => Ok(()),
            _ => to_result(self.error.load(Relaxed)),
        }
    }

    /// Decrements [`DEREGISTERING`], and wakes the tasks that wait for deregistrations.
    fn deregistered() {
        DEREGISTERING.fetch_sub(1u32, Full);
        // SAFETY: `wake_up_var()` has no requirements: it uses the address as a key, and does not
        // dereference it.
        unsafe { bindings::wake_up_var(DEREGISTERING.as_ptr().cast()) };
    }

    /// Registers the device, unless the requester has timed out.
    ///
    /// This is the first run of the work. It may sleep until `misc_mtx` is free. If the requester
    /// times out meanwhile, the device is deregistered again.
    fn run_registration(&self) {
        if self.phase.load(Acquire) != REQUESTED {
            return Self::deregistered();
        }
        // SAFETY: `misc_register()` requires an initialised `struct miscdevice` that is not
        // registered, and that stays valid, with its name and operations, until it is deregistered.
        // `register()` has initialised `misc`. This is the first run of the work, so `misc` is not
        // registered. The name is a field of the device, the operations are in Tether's own data,
        // and the reference of the list or of the work keeps the device valid.
        let error = unsafe { bindings::misc_register(self.misc.get()) };
        let phase = if error == 0 {
            // SAFETY: `get_device()` requires a valid device with a reference count that is not
            // zero. `misc_register()` has succeeded, so it has set `this_device`, and holds a
            // reference until `misc_deregister()`, which is not called before `phase` changes
            // below.
            let device = unsafe { device::Device::get_device((*self.misc.get()).this_device) };
            self.device.populate(device);
            LIVE
        } else {
            self.error.store(error, Relaxed);
            FAILED
        };
        let timed_out = self.phase.cmpxchg(REQUESTED, phase, Full).is_err();
        // SAFETY: `wake_up_var()` has no requirements: it uses the address as a key, and does not
        // dereference it.
        unsafe { bindings::wake_up_var(self.phase.as_ptr().cast()) };
        if timed_out {
            if error == 0 {
                // SAFETY: `misc_deregister()` requires a registered `struct miscdevice`, and must
                // be called once. `misc` was registered above. The requester has timed out:
                // attaching fails, so neither the drop of a registration nor the teardown of the
                // owner deregisters `misc`.
                unsafe { bindings::misc_deregister(self.misc.get()) };
            }
            Self::deregistered();
        }
    }

    /// Deregisters the device, unless the teardown of its owner deregisters it.
    ///
    /// This is the second run of the work. It may sleep until `misc_mtx` is free.
    fn run_deregistration(&self) {
        let entered = self.entered.lock().take();
        if let Some(_entered) = entered.or_else(|| self.attachment.try_detach()) {
            // SAFETY: `misc_deregister()` requires a registered `struct miscdevice`, and must be
            // called once. The work is queued again only for a device that was registered. By the
            // type's invariants, the task that has removed the attachment from the list deregisters
            // `misc`: the guard shows that `try_detach()` has removed the attachment, here or in
            // `drop_registration()`, and `take()` has removed the guard.
            unsafe { bindings::misc_deregister(self.misc.get()) };
            // SAFETY: `release_attached()` requires that the caller has removed the attachment from
            // the list, and does not use it afterwards. `try_detach()` has removed the attachment,
            // as the guard shows. The attachment is not used afterwards.
            unsafe { Self::release_attached(&self.attachment) };
        }
        Self::deregistered();
    }

    /// Refuses new files, and queues the work that deregisters the device.
    ///
    /// # Context
    ///
    /// Any context but NMI. Does not sleep.
    #[inline(never)]
    pub(super) fn drop_registration(self: Arc<Self>) {
        self.phase.store(DEAD, Release);
        if may_sleep() {
            // The exit of the module may call this function. Without this removal, the teardown
            // that follows would find the attachment in the list, and report a leak.
            let entered = self.attachment.try_detach();
            *self.entered.lock() = entered;
        }
        DEREGISTERING.fetch_add(1u32, Full);
        // This does not fail: the first run of the work has begun before the registration was
        // returned, so the work is not queued.
        let _ = workqueue::system_long().enqueue(self);
    }

    /// Deregisters the device, for the teardown of its owner.
    ///
    /// # Context
    ///
    /// Process context, may sleep.
    ///
    /// # Safety
    ///
    /// As for [`AttachmentOps::end`], with the attachment of a device.
    pub(super) unsafe fn end(attachment: *const Attachment) {
        // SAFETY: `container_of!` requires the `attachment` field of a `Device`, and the result
        // must be valid. The caller guarantees that the attachment is that of a device. The
        // reference of the list, which is dropped after this function, keeps the device valid.
        let this = unsafe { &*container_of!(attachment.cast_mut(), Self, attachment) };
        this.phase.store(DEAD, Release);
        // SAFETY: `misc_deregister()` requires a registered `struct miscdevice`, and must be called
        // once. `attach()` has succeeded, so `misc` was registered. By the type's invariants, the
        // task that removes the attachment from the list deregisters `misc`, which is the teardown
        // of the owner here.
        unsafe { bindings::misc_deregister(this.misc.get()) };
    }

    /// Drops the reference of the owner's list.
    ///
    /// # Safety
    ///
    /// `attachment` must be the attachment of a valid device. The caller must have removed it from
    /// its owner's list, and must not use it afterwards.
    pub(super) unsafe fn release_attached(attachment: *const Attachment) {
        // SAFETY: `container_of!` requires the `attachment` field of a `Device`. The caller
        // guarantees that the attachment is that of a valid device.
        let this = unsafe { container_of!(attachment.cast_mut(), Self, attachment) };
        // SAFETY: `from_raw()` requires a pointer that `Arc::into_raw()` has returned, and that is
        // converted back once. `register()` has called `into_raw()` for the list. The caller
        // guarantees that it has removed the attachment from the list, which only one task does.
        drop(unsafe { Arc::from_raw(this.cast_const()) });
    }

    /// Pins the driver's module for a file that is being opened.
    ///
    /// If this succeeds, the caller must unpin the module when the file is released.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the device cannot be opened any more, if the init of the driver's module has
    /// not succeeded yet, or if the module is being removed.
    pub(super) fn pin_owner(&self) -> Result {
        // The record of the owner may have been reused for another module, and then another module
        // is entered here. This is only possible if `phase` is `DEAD`: the teardown of the device's
        // own module has set `phase` to `DEAD`, or waits for the guard below.
        let _entered = self.owner.enter()?;
        // Read `phase` after `enter()` has read that the owner is not closed: if the record was
        // reused, `phase` was set to `DEAD` before the record was opened again.
        smp_mb(Read);
        if self.phase.load(Acquire) > LIVE || !self.owner.is_live() {
            return Err(ENODEV);
        }
        self.owner.pin()
    }
}

impl workqueue::WorkItem for Device {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        // The first run sets `device` if it registers the device. The drop of the registration
        // queues the work again. A registration only exists if the device was registered, so
        // `device` is set in the second run.
        if this.device.as_ref().is_none() {
            this.run_registration();
        } else {
            this.run_deregistration();
        }
    }
}

/// Waits while `word` has the value `value`, for at most `left` jiffies, and returns the remaining
/// jiffies.
///
/// A task that changes `word` must call `wake_up_var()` on its address afterwards.
///
/// # Context
///
/// Process context, may sleep.
///
/// # Errors
///
/// * [`EBUSY`] if the time is over;
/// * [`EINTR`] if the current task was killed.
fn wait_while(word: &Atomic<u32>, value: u32, left: c_long) -> Result<c_long> {
    // SAFETY: `tether_wait_while()` requires a pointer to a word that is valid during the call.
    // `word` is a reference, and `Atomic<u32>` has the layout of a `u32`.
    match unsafe { bindings::tether_wait_while(word.as_ptr(), value, left) } {
        0 => Err(EBUSY),
        left if left < 0 => Err(EINTR),
        left => Ok(left),
    }
}
