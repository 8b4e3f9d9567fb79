// SPDX-License-Identifier: GPL-2.0

//! Registration and deregistration of a misc device, by a work item.

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

// The phases of a device.

/// Its registration was requested, and the requester waits.
const REQUESTED: u32 = 0;
/// It is registered, and can be opened.
const LIVE: u32 = 1;
/// It could not be registered.
const FAILED: u32 = 2;
/// It cannot be opened any more, and is deregistered, or will be.
const DEAD: u32 = 3;

/// A misc device.
///
/// # Invariants
///
/// * `phase` only changes from `REQUESTED` to any other, and from `LIVE` to `DEAD`.
/// * While `phase` is `REQUESTED` or `LIVE`, `table` is valid: the end of the owner waits for the
///   requester, or finds `attachment` and ends it.
/// * While `attachment` is in its owner's list, the list owns a reference to the device.
/// * `misc` is registered from its registration by the device's work until the attachment was taken
///   off the list, or, if the requester has given up, until the end of that work.
#[pin_data]
pub(super) struct Device {
    #[pin]
    attachment: Attachment,
    #[pin]
    pub(super) misc: Opaque<bindings::miscdevice>,
    /// Registers the device when it is queued first, deregisters it when it is queued again.
    #[pin]
    work: workqueue::Work<Device>,
    pub(super) owner: &'static Owner,
    pub(super) table: *const Table,
    /// The name that `misc` points to. The driver's own string may be unloaded before `misc` is
    /// deregistered.
    name: CString,
    phase: Atomic<u32>,
    /// The error of `misc_register()`, if `phase` is `FAILED`.
    error: Atomic<i32>,
    /// Keeps the end of the owner waiting until the device is deregistered.
    #[pin]
    entered: SpinLock<Option<OwnerGuard>>,
    /// Keeps the device in sysfs, `misc.this_device`, until this is freed. Set by the first run of
    /// the work.
    device: SetOnce<ARef<device::Device>>,
}

// SAFETY: `misc` is only changed by the kernel, under its own mutex, by functions that register or
// deregister it, which are never concurrent by the type's invariants. `table` refers to constants.
// The other fields are `Send` themselves.
unsafe impl Send for Device {}
// SAFETY: No field is changed through a shared reference but `misc`, as above, and fields that are
// `Sync` themselves.
unsafe impl Sync for Device {}

workqueue::impl_has_work! {
    impl HasWork<Self> for Device { self.work }

}

/// The number of devices that will be deregistered by their work, or that it has not yet found to be
/// given up.
static DEREGISTERING: Atomic<u32> = Atomic::new(0);

/// The time that a registration may take.
const LIMIT: Delta = Delta::from_secs(10);

/// The longest name of a device in bytes, which is that of a file.
const NAME_MAX: usize = 255;

impl Device {
    /// Registers a device; see [`register()`](super::MiscDeviceRegistration::register).
    #[inline(never)]
    pub(super) fn register(
        name: &CStr,
        owner: &'static Owner,
        table: &'static Table,
        ops: &'static AttachmentOps,
    ) -> Result<Arc<Self>> {
        if !may_sleep() {
            return Err(EINVAL);
        }
        // This task's own call of `open` holds the mutex that `misc_register()` takes.
        if is_opening() {
            return Err(EDEADLK);
        }
        // The kernel would warn about it.
        if !(1..=NAME_MAX).contains(&name.to_bytes().len()) {
            return Err(EINVAL);
        }
        let name = CString::try_from(name)?;
        // INVARIANT: `misc` is not registered yet, and the attachment is not in the list.
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
        // SAFETY: The device was just allocated, and is not shared yet.
        unsafe {
            (*misc).minor = bindings::MISC_DYNAMIC_MINOR as c_int;
            (*misc).name = this.name.as_char_ptr();
            (*misc).fops = &fops.0;
        }
        // INVARIANT: This reference is the list's. It is dropped below if attaching fails.
        let listed = Arc::into_raw(this.clone());
        // SAFETY: The device is pinned. The list's reference keeps it valid until `end` and
        // `release_attached` have been called, or until it was detached in `run`.
        let attached = unsafe { this.attachment.attach(|| this.wait_until_registered()) };
        if attached.is_err() {
            // SAFETY: The pointer was returned by `Arc::into_raw`, and the attachment is in no
            // list, so that this reference is dropped once.
            drop(unsafe { Arc::from_raw(listed) });
        }
        attached?;
        Ok(this)
    }

    /// Has the device registered by a workqueue, and waits for that, but not without limit: the
    /// task that is in `open` of a misc device may wait for the caller.
    fn wait_until_registered(self: &Arc<Self>) -> Result {
        let mut left = as_jiffies(LIMIT) as c_long;
        // A device that was dropped before may have the same name.
        loop {
            let others = DEREGISTERING.load(Acquire);
            if others == 0 {
                break;
            }
            left = wait_while(&DEREGISTERING, others, left)?;
        }
        if workqueue::system_long().enqueue(self.clone()).is_err() {
            // A new work is not queued.
            return Err(EBUSY);
        }
        let Err(error) = wait_while(&self.phase, REQUESTED, left) else {
            return self.registered();
        };
        // The work may have the name registered for a moment, also after this has given up.
        DEREGISTERING.fetch_add(1u32, Full);
        if self.phase.cmpxchg(REQUESTED, DEAD, Full).is_ok() {
            return Err(error);
        }
        Self::deregistered();
        self.registered()
    }

    /// Returns whether the work has registered the device, or its error.
    fn registered(&self) -> Result {
        match self.phase.load(Acquire) {
            LIVE => Ok(()),
            _ => to_result(self.error.load(Relaxed)),
        }
    }

    /// One device less will be deregistered by its work.
    fn deregistered() {
        DEREGISTERING.fetch_sub(1u32, Full);
        // SAFETY: The function uses the address only.
        unsafe { bindings::wake_up_var(DEREGISTERING.as_ptr().cast()) };
    }

    /// Registers the device for the requester, if that still waits.
    fn run_registration(&self) {
        if self.phase.load(Acquire) != REQUESTED {
            return Self::deregistered();
        }
        // SAFETY: `misc` is initialised, its name and operations stay valid until it is
        // deregistered, and it is registered once: this is the first run of the work.
        let error = unsafe { bindings::misc_register(self.misc.get()) };
        let phase = if error == 0 {
            // SAFETY: `misc` was just registered, so that `this_device` is valid.
            let device = unsafe { device::Device::get_device((*self.misc.get()).this_device) };
            self.device.populate(device);
            LIVE
        } else {
            self.error.store(error, Relaxed);
            FAILED
        };
        let given_up = self.phase.cmpxchg(REQUESTED, phase, Full).is_err();
        // SAFETY: The function uses the address only.
        unsafe { bindings::wake_up_var(self.phase.as_ptr().cast()) };
        if given_up {
            if error == 0 {
                // SAFETY: `misc` was registered above, and only this work knows about it, as the
                // requester has got an error.
                unsafe { bindings::misc_deregister(self.misc.get()) };
            }
            Self::deregistered();
        }
    }

    /// Deregisters the device, unless the end of its owner has done so.
    fn run_deregistration(&self) {
        let entered = self.entered.lock().take();
        if let Some(_entered) = entered.or_else(|| self.attachment.try_detach()) {
            // SAFETY: By the type's invariants, `misc` is registered: the attachment was taken off
            // its owner's list just now, or when `entered` was set.
            unsafe { bindings::misc_deregister(self.misc.get()) };
            // SAFETY: The reference of the list is ours, as the attachment was taken off by us.
            unsafe { Self::release_attached(&self.attachment) };
        }
        Self::deregistered();
    }

    /// Refuses new files, and has the device deregistered.
    #[inline(never)]
    pub(super) fn drop_registration(self: Arc<Self>) {
        self.phase.store(DEAD, Release);
        if may_sleep() {
            // If this is called by the exit of the module, the end of the module would otherwise
            // find the device in its list, and report a leak.
            let entered = self.attachment.try_detach();
            *self.entered.lock() = entered;
        }
        DEREGISTERING.fetch_add(1u32, Full);
        // The work that registers the device has been taken off its queue before the registration
        // was returned, so this cannot fail.
        let _ = workqueue::system_long().enqueue(self);
    }

    /// # Safety
    ///
    /// As [`AttachmentOps::end`] says.
    pub(super) unsafe fn end(attachment: *const Attachment) {
        // SAFETY: The caller guarantees that the attachment is valid; it is in a device, which the
        // list's reference keeps valid.
        let this = unsafe { &*container_of!(attachment.cast_mut(), Self, attachment) };
        this.phase.store(DEAD, Release);
        // SAFETY: By the type's invariants, `misc` is registered: the owner's end has taken the
        // attachment off its list just now.
        unsafe { bindings::misc_deregister(this.misc.get()) };
    }

    /// Drops the reference of the owner's list.
    ///
    /// # Safety
    ///
    /// The caller must have taken the attachment off its owner's list, and must not use it
    /// afterwards.
    pub(super) unsafe fn release_attached(attachment: *const Attachment) {
        // SAFETY: The caller guarantees that the attachment is valid, and it is in a device.
        let this = unsafe { container_of!(attachment.cast_mut(), Self, attachment) };
        // SAFETY: `register()` has called `Arc::into_raw` for the list, and the caller guarantees
        // that the list does not have that reference any more.
        drop(unsafe { Arc::from_raw(this.cast_const()) });
    }

    /// Pins the driver's module for a file, unless the device cannot be opened.
    pub(super) fn pin_owner(&self) -> Result {
        // The owner is a record that may have been reused by another module, but not if `phase` is
        // not `DEAD`: the end of the device's own module waits for this, or has seen to it that
        // this is refused.
        let _entered = self.owner.enter()?;
        // The phase is read after it was seen that the owner is open.
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
        // `phase` is `LIVE` or `DEAD` when the work is queued again, by the drop of the
        // registration, which exists only if the device was registered.
        if this.device.as_ref().is_none() {
            this.run_registration();
        } else {
            this.run_deregistration();
        }
    }
}

/// Waits until the value of `word` is not `value`, for `left` jiffies at most, and returns how many
/// are left.
///
/// # Errors
///
/// * [`EBUSY`] if the time is over;
/// * [`EINTR`] if the current task is killed.
fn wait_while(word: &Atomic<u32>, value: u32, left: c_long) -> Result<c_long> {
    // SAFETY: The word is valid during the call.
    match unsafe { bindings::tether_wait_while(word.as_ptr(), value, left) } {
        0 => Err(EBUSY),
        left if left < 0 => Err(EINTR),
        left => Ok(left),
    }
}
