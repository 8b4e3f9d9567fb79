// SPDX-License-Identifier: GPL-2.0

//! Address spaces with notifiers: registering them killably, and freeing them later.
//!
//! Each address space with a registration of Tether's has one [`Space`]. It keeps the `mm_struct`
//! (`mmgrab()`), knows whether the kernel's interval tree has been set up, and has the list of
//! registrations that were dropped and are to be removed and freed.
//!
//! Dropping a registration does not wait: the kernel's functions that remove a notifier wait for
//! running callbacks, so that a drop inside a callback would wait for itself. The drop puts the
//! [`Head`] of the registration on the list of its [`Space`], and a work item removes and frees it.
//! The list is per address space, so that a slow callback on one address space does not delay
//! another one. The owner of the registration is kept entered until the memory was freed, hence the
//! end of its module waits for this.

use super::{
    mmu_notifier::Refusal,
    table::{
        Bucket,
        Locked,
        Table, //
    },
    virt::VmaRef,
    Mm,
    MmWithUser, //
};
use crate::{
    bindings,
    container_of,
    current,
    error::to_result,
    prelude::*,
    static_lock_class,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc, //
    },
    task::Task,
    tether::{
        is_exiting,
        is_kernel_thread,
        is_opening,
        list_head,
        may_sleep,
        read_once,
        Attachment,
        Entered,
        Owner,
        What, //
    },
    time::{
        delay::fsleep,
        msecs_to_jiffies,
        Delta,
        Instant,
        Monotonic, //
    },
    types::Opaque, //
};
use core::{
    cell::{
        Cell,
        UnsafeCell, //
    },
    ptr::{
        self,
        NonNull, //
    }, //
};

/// How many registrations on one address space may wait for their removal before a new one has to
/// wait.
const MAX_BURIED: u32 = 64;

/// The same for an interval notifier, whose removal does not wait for a grace period.
const MAX_BURIED_RANGES: u32 = 16384;

/// The limit of a wait in `open` of a misc device.
const OPENING_LIMIT: Delta = Delta::from_secs(1);

/// The limit of a wait that a signal cannot end, where the caller has given none.
const DEFAULT_LIMIT: Delta = Delta::from_secs(10);

/// A wait that can be killed, stopped, or limited.
///
/// A fatal signal ends the wait of a user's task. A kernel thread, and a task in its exit, get no
/// signals: the limit ends their wait, and for a kernel thread a request to stop as well.
pub(super) struct Patience {
    begun: Instant<Monotonic>,
    limit: Option<Delta>,
    kernel_thread: bool,
    killable: bool,
    opening: bool,
}

impl Patience {
    /// Begins a wait of the current task. Without `limit`, a task that cannot be killed waits for
    /// ten seconds. In `open` of a misc device the limit is one second, as the opens of all misc
    /// devices wait meanwhile.
    pub(super) fn new(limit: Option<Delta>) -> Self {
        let kernel_thread = is_kernel_thread(current!());
        let killable = !kernel_thread && !is_exiting();
        let opening = is_opening();
        let limit = if opening {
            Some(limit.map_or(OPENING_LIMIT, |limit| limit.min(OPENING_LIMIT)))
        } else {
            limit.or((!killable).then_some(DEFAULT_LIMIT))
        };
        Self {
            begun: Instant::now(),
            limit,
            kernel_thread,
            killable,
            opening,
        }
    }

    /// Whether the wait has a limit.
    #[cfg(CONFIG_HMM_MIRROR)]
    pub(super) fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// Whether the wait may go on.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if the task is being killed, or asked to stop; [`EBUSY`] if the time is up.
    #[cold]
    pub(super) fn check(&self) -> Result {
        let task = Task::current_raw();
        let interrupted = if self.kernel_thread {
            // SAFETY: The current task is valid, and a kernel thread.
            unsafe { bindings::signal_pending(task) != 0 || bindings::kthread_should_stop() }
        } else {
            // SAFETY: The current task is valid.
            unsafe { bindings::fatal_signal_pending(task) != 0 }
        };
        if interrupted {
            return Err(EINTR);
        }
        if self
            .limit
            .is_some_and(|limit| self.begun.elapsed() >= limit)
        {
            return Err(EBUSY);
        }
        Ok(())
    }

    /// Sleeps for a millisecond, if the wait may go on.
    ///
    /// # Errors
    ///
    /// Those of [`Patience::check`].
    #[cold]
    pub(super) fn pause(&self) -> Result {
        self.check()?;
        fsleep(Delta::from_millis(1));
        Ok(())
    }
}

/// The write lock of an address space, and those of its VMAs.
struct AllLocked<'a>(&'a MmWithUser);

impl<'a> AllLocked<'a> {
    /// Takes the `mmap_lock` for writing, and the lock of each VMA, so that
    /// `mm_take_all_locks()`, which cannot be killed and holds a mutex of the whole machine, does
    /// not wait for readers of VMAs.
    fn take(mm: &'a MmWithUser) -> Result<Self> {
        let patience = Patience::new(Some(DEFAULT_LIMIT));
        // SAFETY: The address space is valid. This only compares the owner to the current task.
        if unsafe { bindings::tether_mmap_is_write_locked_by_current(mm.as_raw()) } {
            return Err(EDEADLK);
        }
        if !patience.killable || patience.opening {
            // SAFETY: The address space is valid.
            while !unsafe { bindings::tether_mmap_write_trylock(mm.as_raw()) } {
                patience.pause()?;
            }
        } else {
            // SAFETY: The address space is valid, and the current task does not hold its lock for
            // writing.
            let ret = unsafe { bindings::mmap_write_lock_killable(mm.as_raw()) };
            if ret != 0 {
                return Err(EINTR);
            }
        }
        let locked = Self(mm);
        let mut address = 0;
        loop {
            // SAFETY: The `mmap_lock` is held.
            let vma = unsafe { bindings::find_vma(mm.as_raw(), address) };
            if vma.is_null() {
                return Ok(locked);
            }
            // A task that can be killed waits in the kernel's function. If it has the lock itself,
            // it has to be killed; so that it looks for readers for a second first.
            //
            // SAFETY: The VMA is valid, as the `mmap_lock` is held for writing.
            while unsafe { bindings::tether_vma_has_readers(vma) }
                && (!patience.killable
                    || patience.opening
                    || patience.begun.elapsed().as_millis() < 1000)
            {
                patience.pause()?;
            }
            // SAFETY: The VMA is valid, and the `mmap_lock` is held for writing.
            if unsafe { bindings::vma_start_write_killable(vma) } != 0 {
                return Err(EINTR);
            }
            // SAFETY: The VMA is valid, as the `mmap_lock` is held for writing.
            address = unsafe { (*vma).__bindgen_anon_1.__bindgen_anon_1.vm_end };
        }
    }
}

impl Drop for AllLocked<'_> {
    fn drop(&mut self) {
        // SAFETY: `take()` has locked it in this task. This releases the locks of the VMAs, too.
        unsafe { bindings::mmap_write_unlock(self.0.as_raw()) };
    }
}

/// The `mmap_lock` of an address space, locked for reading.
///
/// # Invariants
///
/// It is locked by the task that has this.
#[cfg_attr(not(CONFIG_HMM_MIRROR), allow(dead_code))]
pub(super) struct ReadLocked<'a>(&'a MmWithUser);

#[cfg_attr(not(CONFIG_HMM_MIRROR), allow(dead_code))]
impl<'a> ReadLocked<'a> {
    /// Takes the lock. If `patience` has a limit, this gives up with it.
    ///
    /// # Errors
    ///
    /// Those of [`Patience::check`].
    pub(super) fn take(mm: &'a MmWithUser, patience: &Patience) -> Result<Self> {
        if patience.limit.is_none() {
            // SAFETY: The address space is valid.
            if unsafe { bindings::mmap_read_lock_killable(mm.as_raw()) } != 0 {
                return Err(EINTR);
            }
        } else {
            // SAFETY: The address space is valid.
            while !unsafe { bindings::mmap_read_trylock(mm.as_raw()) } {
                patience.pause()?;
            }
        }
        // INVARIANT: It was locked just now.
        Ok(Self(mm))
    }

    /// The VMA that has `address`, or else the next one.
    pub(super) fn find(&self, address: usize) -> Option<&VmaRef> {
        // SAFETY: The `mmap_lock` is held, by the type's invariants.
        let vma = unsafe { bindings::find_vma(self.0.as_raw(), address) };
        // SAFETY: The VMA is valid, and does not change, while the `mmap_lock` is held.
        (!vma.is_null()).then(|| unsafe { VmaRef::from_raw(vma) })
    }

    /// The kernel has unlocked it.
    pub(super) fn was_unlocked(self) {
        core::mem::forget(self);
    }
}

impl Drop for ReadLocked<'_> {
    fn drop(&mut self) {
        // SAFETY: It is locked by this task, by the type's invariants.
        unsafe { bindings::mmap_read_unlock(self.0.as_raw()) };
    }
}

/// All spaces.
static TABLE: Table = Table::new();

/// Creates the table, once, before any driver can register a notifier.
pub(crate) fn init() -> Result {
    TABLE.init(c"tether::space", static_lock_class!())
}

/// An address space with registrations.
///
/// # Invariants
///
/// * `refs` counts the [`SpaceRef`]s, and only changes with the lock of `bucket` held. `links` are
///   in the list of `bucket` while it is not zero.
/// * `dead` is a list of heads, linked by `next`, whose handles were dropped. Each holds a
///   [`SpaceRef`]. Whenever it becomes non-empty `work` is queued, and each run of the work item
///   empties it once.
#[pin_data]
pub(super) struct Space {
    mm: ARef<Mm>,
    bucket: &'static Bucket,
    refs: Cell<usize>,
    /// Whether the kernel has an interval tree for this address space, which it keeps.
    has_tree: Atomic<bool>,
    dead: Atomic<*const Head>,
    /// How many registrations were dropped, and are not being removed yet.
    buried: Atomic<u32>,
    #[pin]
    links: Opaque<bindings::list_head>,
    #[pin]
    work: Opaque<bindings::work_struct>,
}

impl Space {
    /// Finds the space of `mm`, and takes a reference to it.
    #[inline]
    fn find(bucket: &Locked<'_>, mm: *const bindings::mm_struct) -> Option<SpaceRef> {
        bucket.find(|links| {
            // SAFETY: The entries of this table are the links of `Space`s, which are valid while
            // they are in the list.
            let space = unsafe { &*container_of!(links, Space, links) };
            ptr::eq(space.mm.as_raw(), mm).then(|| {
                space.refs.set(space.refs.get() + 1);
                // INVARIANT: The reference was counted just now, with the lock held.
                SpaceRef(NonNull::from(space))
            })
        })
    }
}

/// A reference to a [`Space`].
///
/// # Invariants
///
/// It is counted in `refs` of the space.
pub(super) struct SpaceRef(NonNull<Space>);

impl SpaceRef {
    /// Finds the space of `mm`, or creates it. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    #[inline]
    pub(super) fn get(mm: &MmWithUser) -> Result<Self> {
        let bucket = TABLE.bucket(mm.as_raw());
        let found = Space::find(&bucket.lock(), mm.as_raw());
        match found {
            Some(space) => Ok(space),
            None => Self::create(mm, bucket),
        }
    }

    #[cold]
    fn create(mm: &MmWithUser, bucket: &'static Bucket) -> Result<Self> {
        let without_users: &Mm = mm;
        let space = KBox::pin_init(
            pin_init!(Space {
                mm: ARef::from(without_users),
                bucket,
                refs: Cell::new(1),
                has_tree: Atomic::new(false),
                dead: Atomic::new(ptr::null()),
                buried: Atomic::new(0),
                links <- list_head(),
                work <- Opaque::ffi_init(|slot: *mut bindings::work_struct| {
                    // SAFETY: `slot` is valid for writes, and pinned.
                    unsafe { bindings::tether_init_work(slot, Some(free_dead)) };
                }),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        let bucket = bucket.lock();
        if let Some(other) = Space::find(&bucket, mm.as_raw()) {
            return Ok(other);
        }
        // SAFETY: The links are initialised and in no list. The space is freed by the drop of the
        // last reference, which takes them off the list.
        unsafe { bucket.add(&space.links) };
        // INVARIANT: `refs` was initialised to one, for this reference.
        //
        // SAFETY: The space stays where it is: it is freed by the drop of the last reference.
        Ok(Self(NonNull::from(KBox::leak(unsafe {
            Pin::into_inner_unchecked(space)
        }))))
    }

    /// The address space. Its users may be gone.
    #[inline]
    pub(super) fn mm(&self) -> &Mm {
        &self.space().mm
    }

    #[inline]
    fn space(&self) -> &Space {
        // SAFETY: By the type's invariants the space is valid while there is a reference.
        unsafe { self.0.as_ref() }
    }

    /// Registers `subscription` on the address space, which `mm` is; and, if it may refuse, inserts
    /// the subscription by which it does, for all addresses.
    ///
    /// # Errors
    ///
    /// * [`ENOMEM`];
    /// * [`EINTR`] if a signal is pending, or a kernel thread is asked to stop;
    /// * [`EDEADLK`] if the current task holds the `mmap_lock` of `mm` for writing;
    /// * [`EBUSY`] if this is a kernel thread, and a lock of `mm` was not free for ten seconds.
    ///
    /// # Safety
    ///
    /// The subscriptions must have their functions, not be registered, and stay valid until they
    /// were removed.
    #[inline(never)]
    pub(super) unsafe fn register(
        &self,
        mm: &MmWithUser,
        subscription: *mut bindings::mmu_notifier,
        refusal: Option<Refusal>,
    ) -> Result {
        self.wait_for_removals(MAX_BURIED)?;
        let locked = AllLocked::take(mm)?;
        if let Some(refusal) = &refusal {
            // SAFETY: The `mmap_lock` is held for writing, the address space has users for as long
            // as the borrow, and by the function's contract the subscription may be inserted.
            to_result(unsafe {
                bindings::mmu_interval_notifier_insert_locked(
                    refusal.subscription,
                    mm.as_raw(),
                    0,
                    usize::MAX,
                    refusal.ops,
                )
            })?;
            self.space().has_tree.store(true, Relaxed);
        }
        // SAFETY: The `mmap_lock` is held for writing, the address space has users for as long as
        // the borrow, and by the function's contract the subscription is valid and not registered.
        let ret =
            to_result(unsafe { bindings::__mmu_notifier_register(subscription, mm.as_raw()) });
        drop(locked);
        if let (Err(_), Some(refusal)) = (&ret, &refusal) {
            // SAFETY: It was inserted above, and this is no callback.
            unsafe { bindings::mmu_interval_notifier_remove(refusal.subscription) };
        }
        ret
    }

    /// Waits while many registrations on the address space were dropped and are not removed yet.
    ///
    /// A removal may take as long as a grace period of SRCU. Without a limit, a process that
    /// registers and drops in a loop keeps the module from being removed for a long time
    /// afterwards.
    ///
    /// # Errors
    ///
    /// Those of [`Patience::check`].
    #[inline]
    fn wait_for_removals(&self, limit: u32) -> Result {
        if read_once(&self.space().buried) < limit {
            return Ok(());
        }
        self.wait_for_many_removals(limit)
    }

    #[cold]
    #[inline(never)]
    fn wait_for_many_removals(&self, limit: u32) -> Result {
        let patience = Patience::new(Some(DEFAULT_LIMIT));
        while read_once(&self.space().buried) >= limit {
            patience.pause()?;
        }
        Ok(())
    }

    /// Inserts `subscription` into the interval tree of the address space, which `mm` is.
    ///
    /// The locks of the address space are only taken for the first one.
    ///
    /// # Errors
    ///
    /// Those of [`SpaceRef::register`]; [`EOVERFLOW`] if the range is empty, or goes beyond the
    /// last address.
    ///
    /// # Safety
    ///
    /// The subscription must be valid for writes and not be inserted; it, and `ops`, must stay
    /// valid until the subscription was removed.
    #[inline]
    pub(super) unsafe fn insert(
        &self,
        mm: &MmWithUser,
        subscription: *mut bindings::mmu_interval_notifier,
        start: usize,
        length: usize,
        ops: *const bindings::mmu_interval_notifier_ops,
    ) -> Result {
        self.wait_for_removals(MAX_BURIED_RANGES)?;
        let ret = if read_once(&self.space().has_tree) {
            // SAFETY: By the function's contract the subscription and its functions are valid. The
            // address space has users for as long as the borrow.
            unsafe {
                bindings::mmu_interval_notifier_insert(
                    subscription,
                    mm.as_raw(),
                    start,
                    length,
                    ops,
                )
            }
        } else {
            // SAFETY: The requirements are those of this function.
            unsafe { self.insert_first(mm, subscription, start, length, ops)? }
        };
        // `to_result()` is a call.
        if ret == 0 {
            Ok(())
        } else {
            Err(Error::from_errno(ret))
        }
    }

    /// Inserts the first one, under the locks that this needs.
    ///
    /// # Safety
    ///
    /// As for [`SpaceRef::insert`].
    #[cold]
    #[inline(never)]
    unsafe fn insert_first(
        &self,
        mm: &MmWithUser,
        subscription: *mut bindings::mmu_interval_notifier,
        start: usize,
        length: usize,
        ops: *const bindings::mmu_interval_notifier_ops,
    ) -> Result<c_int> {
        let _locked = AllLocked::take(mm)?;
        // SAFETY: The `mmap_lock` is held for writing; the rest is the function's contract.
        let ret = unsafe {
            bindings::mmu_interval_notifier_insert_locked(
                subscription,
                mm.as_raw(),
                start,
                length,
                ops,
            )
        };
        if ret == 0 {
            self.space().has_tree.store(true, Relaxed);
        }
        Ok(ret)
    }
}

impl Drop for SpaceRef {
    fn drop(&mut self) {
        let bucket = self.space().bucket;
        {
            let _locked = bucket.lock();
            let space = self.space();
            let refs = space.refs.get() - 1;
            space.refs.set(refs);
            if refs != 0 {
                return;
            }
            // SAFETY: The entry is in the list, as there was a reference, and the lock is held.
            unsafe { bindings::tether_list_del_init(space.links.get()) };
        }
        // SAFETY: `create()` has leaked it from a box. The last reference was dropped, and it is
        // not found any more. Its work item is not queued: the heads on its list hold references.
        drop(unsafe { KBox::from_raw(self.0.as_ptr()) });
    }
}

/// How a registration is removed from the kernel and freed; a constant of its type.
pub(super) struct Kind {
    /// Removes it, and sets [`Head::set_ended`]: the kernel does not call it any more when this has
    /// returned. Waits for running callbacks. Called once.
    pub(super) remove: unsafe fn(NonNull<Head>),
    /// Drops the notifier, and frees the memory. Called once, after `remove`.
    pub(super) free: unsafe fn(NonNull<Head>),
}

/// What the removal of a registration is waited for by.
#[pin_data]
struct Removal {
    #[pin]
    done: Opaque<bindings::completion>,
}

// SAFETY: A completion may be used on any thread.
unsafe impl Send for Removal {}
// SAFETY: A completion may be used by several threads at once.
unsafe impl Sync for Removal {}

impl Removal {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                done <- Opaque::ffi_init(|slot: *mut bindings::completion| {
                    // SAFETY: `slot` is valid for writes, and pinned.
                    unsafe { bindings::init_completion(slot) };
                }),
            }),
            GFP_KERNEL,
        )
    }

    fn complete(&self) {
        // SAFETY: The completion is initialised.
        unsafe { bindings::complete_all(self.done.get()) };
    }

    /// Waits until the registration was removed and freed.
    fn wait(&self) -> Result {
        let patience = Patience::new(Some(DEFAULT_LIMIT));
        loop {
            // SAFETY: The completion is initialised.
            let left = unsafe {
                bindings::wait_for_completion_killable_timeout(
                    self.done.get(),
                    msecs_to_jiffies(100),
                )
            };
            if left > 0 {
                return Ok(());
            }
            patience.check()?;
        }
    }
}

/// The part of a registration that does not depend on its type.
///
/// # Invariants
///
/// * It is at the beginning of what `kind` is for, in memory of its own that `kind.free` frees.
/// * `refs` counts the handle, and the list of its owner while the registration is attached. The
///   task that drops the last reference, or takes the attachment off the list of its owner, frees
///   the head.
/// * `next`, `deferred`, `entered` and `removal` are written by the task that drops the handle,
///   before the head is on the list of its space, and read by the work item of that space.
/// * If `deferred` is set, the handle's reference is not dropped yet, and belongs to the work item.
/// * `space` is set until the memory is freed.
#[pin_data]
#[repr(C)]
pub(super) struct Head {
    #[pin]
    attachment: Attachment,
    /// A constant of the module that has made the registration or, if it has ended, of the module
    /// that has dropped the last handle.
    kind: UnsafeCell<&'static Kind>,
    space: UnsafeCell<Option<SpaceRef>>,
    refs: Atomic<u32>,
    ended: Atomic<bool>,
    next: UnsafeCell<*const Head>,
    /// The kind as the dropping module has it, if the handle was dropped where the lock of the
    /// owner's list could not be taken.
    deferred: UnsafeCell<Option<&'static Kind>>,
    entered: UnsafeCell<Option<Entered>>,
    removal: UnsafeCell<Option<Arc<Removal>>>,
}

impl Head {
    /// The `release` and `end` of [`What`], for all registrations.
    pub(super) const fn what(kind: &'static str, name: fn() -> &'static str) -> What {
        What {
            kind,
            name,
            request: None,
            end: Self::end,
            discard: None,
            release: Some(Self::release),
        }
    }

    /// Creates the head of a registration that is not registered.
    #[inline]
    pub(super) fn new(
        owner: &'static Owner,
        what: &'static What,
        kind: &'static Kind,
        space: SpaceRef,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            attachment <- Attachment::new(owner, what),
            kind: UnsafeCell::new(kind),
            space: UnsafeCell::new(Some(space)),
            refs: Atomic::new(2),
            ended: Atomic::new(false),
            next: UnsafeCell::new(ptr::null()),
            deferred: UnsafeCell::new(None),
            entered: UnsafeCell::new(None),
            removal: UnsafeCell::new(None),
        })
    }

    pub(super) fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// The address space that it is registered on.
    #[inline]
    pub(super) fn space(&self) -> &SpaceRef {
        // SAFETY: By the type's invariants it is set, and does not change, until it is freed.
        match unsafe { &*self.space.get() } {
            Some(space) => space,
            None => unreachable!(),
        }
    }

    /// Whether it was removed, or is being removed.
    #[inline]
    pub(super) fn is_ended(&self) -> bool {
        read_once(&self.ended)
    }

    /// Notes that it is being removed.
    pub(super) fn set_ended(&self) {
        self.ended.store(true, Release);
    }

    /// Drops the handle: the registration is removed and freed later.
    ///
    /// # Context
    ///
    /// Any; does not sleep.
    ///
    /// # Safety
    ///
    /// The registration must have been attached. The caller owns the handle's reference, and must
    /// not use the head again.
    #[inline]
    pub(super) unsafe fn drop_handle(&self, kind: &'static Kind) {
        // SAFETY: The requirements are those of this function.
        unsafe { self.drop_handle_with(kind, None) };
    }

    /// Drops the handle, and waits until the registration was removed and freed.
    ///
    /// # Errors
    ///
    /// * [`ENODEV`] if the end of its module has removed it;
    /// * [`EINTR`] if the task is being killed, or asked to stop; [`EBUSY`] after ten seconds;
    ///   [`ENOMEM`]. The registration is then removed and freed later;
    /// * [`EDEADLK`] where the caller may not sleep. The registration is then removed and freed
    ///   later.
    ///
    /// # Safety
    ///
    /// As for [`Head::drop_handle`].
    pub(super) unsafe fn unregister(&self, kind: &'static Kind) -> Result {
        if !may_sleep() {
            // SAFETY: The requirements are those of this function.
            unsafe { self.drop_handle(kind) };
            return Err(EDEADLK);
        }
        let removal = match Removal::new() {
            Ok(removal) => removal,
            Err(error) => {
                // SAFETY: The requirements are those of this function.
                unsafe { self.drop_handle(kind) };
                return Err(error);
            }
        };
        // SAFETY: The requirements are those of this function.
        if unsafe { self.drop_handle_with(kind, Some(removal.clone())) } {
            removal.wait()
        } else {
            Err(ENODEV)
        }
    }

    /// Returns whether it is removed by this, and not by the end of its module.
    ///
    /// # Safety
    ///
    /// As for [`Head::drop_handle`].
    #[inline(never)]
    unsafe fn drop_handle_with(&self, kind: &'static Kind, removal: Option<Arc<Removal>>) -> bool {
        if !may_sleep() {
            // The interrupted task may hold the lock of the owner's list: the work item takes it.
            //
            // SAFETY: The handle is dropped, and the head is not on the list of its space yet, so
            // that only this task touches the field. The handle's reference is given to the work
            // item. The code that drops the handle is the module's of `kind`, and the end of that
            // module waits for this code.
            unsafe {
                *self.deferred.get() = Some(kind);
                self.bury(Self::enter_for(kind), removal);
            }
            return false;
        }
        let detached = self.attachment.try_detach();
        let ours = detached.is_some();
        let entered = match detached {
            Some(entered) => entered,
            None => {
                if self.refs.fetch_sub(1u32, Full) != 1 {
                    // The end of the module has the other reference, and frees it.
                    return false;
                }
                // The module that has made it may be gone. The caller's module has the same
                // functions, in its own text.
                //
                // SAFETY: There is no other reference, so that only this task uses the field.
                unsafe { *self.kind.get() = kind };
                // SAFETY: The code that drops the handle is that module's, and its end waits for
                // this code.
                unsafe { Self::enter_for(kind) }
            }
        };
        // SAFETY: The handle is dropped, and its reference is the work item's from here on.
        unsafe { self.bury(entered, removal) };
        ours
    }

    /// Keeps the text of the module that `kind` belongs to.
    ///
    /// # Safety
    ///
    /// The end of that module must wait for the caller.
    unsafe fn enter_for(kind: &'static Kind) -> Entered {
        let owner = Owner::of(kind.free as *const ()).unwrap_or_else(|_| Owner::unknown());
        // SAFETY: By the function's contract the end of the module waits for the caller.
        unsafe { owner.enter_again() }
    }

    /// Puts the head on the list of its space, for the work item.
    ///
    /// # Safety
    ///
    /// Called once, by the task that drops the handle. The head must not be used by it again.
    unsafe fn bury(&self, entered: Entered, removal: Option<Arc<Removal>>) {
        // SAFETY: The handle is dropped, and the head is not on the list yet: by the type's
        // invariants only this task touches these.
        unsafe {
            *self.entered.get() = Some(entered);
            *self.removal.get() = removal;
        }
        let space = self.space().0;
        // SAFETY: The head holds a reference to its space, and is not freed before the work item
        // has run, which is not queued for it before the exchange below.
        let (dead, buried) = unsafe { (&(*space.as_ptr()).dead, &(*space.as_ptr()).buried) };
        buried.fetch_add(1u32, Relaxed);
        let mut first = dead.load(Relaxed);
        loop {
            // SAFETY: The head is not on the list yet.
            unsafe { *self.next.get() = first };
            match dead.cmpxchg(first, self, Full) {
                Ok(_) => break,
                Err(now) => first = now,
            }
        }
        if first.is_null() {
            // SAFETY: The list was empty, so that the work item does not take this head off, and
            // with it the reference to the space, before it is queued here. It is initialised.
            unsafe { bindings::tether_queue_unbound_work((*space.as_ptr()).work.get()) };
        }
    }

    /// Finishes a head whose handle was dropped.
    ///
    /// # Safety
    ///
    /// Called by the work item of its space, which must have taken it off the list, and not use it
    /// again.
    unsafe fn finish_dropped(this: NonNull<Self>) {
        let mut detached = None;
        {
            // SAFETY: The head is valid: the handle's reference, or by the function's contract all
            // of it, is the work item's.
            let head = unsafe { this.as_ref() };
            // SAFETY: By the type's invariants the work item has these since it was on the list.
            let (deferred, entered) =
                unsafe { (&mut *head.deferred.get(), &mut *head.entered.get()) };
            if let Some(kind) = deferred.take() {
                let kept = entered.take();
                detached = head.attachment.try_detach();
                if detached.is_none() {
                    if head.refs.fetch_sub(1u32, Full) != 1 {
                        // The end of the module has the other reference, and frees it. The dropping
                        // module may go when `kept` is dropped.
                        return;
                    }
                    // As in `drop_handle_with()`.
                    //
                    // SAFETY: There is no other reference, so that only this task uses the field.
                    unsafe { *head.kind.get() = kind };
                }
                *entered = kept;
            }
        }
        // SAFETY: The head was detached by a task whose part this is, or there is no other
        // reference.
        unsafe { Self::finish(this) };
        // The module of the registration may go from here on.
        drop(detached);
    }

    /// Removes it, if that was not done, and frees it.
    ///
    /// # Safety
    ///
    /// There must be no reference to it but the caller's, which must not be used again.
    unsafe fn finish(this: NonNull<Self>) {
        let (kind, space, entered, removal) = {
            // SAFETY: By the function's contract the head is valid.
            let head = unsafe { this.as_ref() };
            if !head.ended.load(Acquire) {
                // SAFETY: It was registered, and not removed.
                unsafe { ((*head.kind.get()).remove)(this) };
            }
            // SAFETY: By the function's contract nothing else uses the head.
            unsafe {
                (
                    *head.kind.get(),
                    (*head.space.get()).take(),
                    (*head.entered.get()).take(),
                    (*head.removal.get()).take(),
                )
            }
        };
        // SAFETY: It was removed, and nothing else uses it. `kind` is in the module's memory, which
        // stays: its end waits for `entered`, or has called this.
        unsafe { (kind.free)(this) };
        if let Some(removal) = removal {
            removal.complete();
        }
        // The module may go from here on.
        drop(entered);
        // This may free the space, and the work item that runs.
        drop(space);
    }

    /// The end of its module has found the registration: its handle was leaked, or is still in use.
    ///
    /// # Safety
    ///
    /// As [`What::end`] says.
    unsafe fn end(attachment: *const Attachment) {
        let head = Self::of(attachment);
        // SAFETY: The attachment is valid until `release`, as the list holds a reference. It was
        // registered, and its handle does not remove it, as it was taken off the list.
        unsafe { ((*head.as_ref().kind.get()).remove)(head) };
    }

    /// Drops the reference of the owner's list.
    ///
    /// # Safety
    ///
    /// As [`What::release`] says.
    unsafe fn release(attachment: *const Attachment) {
        let head = Self::of(attachment);
        // SAFETY: The reference of the list keeps the head valid.
        if unsafe { head.as_ref() }.refs.fetch_sub(1u32, Full) == 1 {
            // SAFETY: That was the last reference.
            unsafe { Self::finish(head) };
        }
    }

    fn of(attachment: *const Attachment) -> NonNull<Self> {
        // SAFETY: The attachment is at the beginning of a `Head`, as `repr(C)` says, and not null.
        unsafe { NonNull::new_unchecked(attachment.cast::<Self>().cast_mut()) }
    }
}

/// Removes and frees the registrations on a space that were dropped.
///
/// In text that stays: the last one that is freed may be all that keeps its module.
///
/// # Safety
///
/// `work` must be that of a [`Space`] whose list has become non-empty since the last call.
#[inline(never)]
unsafe extern "C" fn free_dead(work: *mut bindings::work_struct) {
    let field = Opaque::cast_from(work).cast_mut();
    let mut dead = {
        // SAFETY: By the function's contract. The heads on the list hold references.
        let space = unsafe { &*container_of!(field, Space, work) };
        space.dead.xchg(ptr::null(), Full)
    };
    // The oldest one first.
    let mut first: *const Head = ptr::null();
    while !dead.is_null() {
        // SAFETY: The heads that were on the list are valid, and this task's.
        let next = unsafe { (*dead).next.get() };
        // SAFETY: `next` points into a head that was on the list, which is this task's.
        unsafe {
            let rest = *next;
            *next = first;
            first = dead;
            dead = rest;
        }
    }
    while let Some(head) = NonNull::new(first.cast_mut()) {
        // SAFETY: The heads that were on the list are valid, and this task's.
        first = unsafe { *head.as_ref().next.get() };
        // SAFETY: The head is valid, and holds a reference to its space.
        let buried = unsafe { &head.as_ref().space().space().buried };
        buried.fetch_sub(1u32, Relaxed);
        // SAFETY: It was on the list, which was taken by this. With the last one the space may be
        // freed, which is not used any more.
        unsafe { Head::finish_dropped(head) };
    }
}
