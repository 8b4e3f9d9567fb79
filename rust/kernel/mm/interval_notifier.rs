// SPDX-License-Identifier: GPL-2.0

//! Interval notifiers: secondary page tables for a range of an address space.
//!
//! A driver that works on a process's memory through page tables of its own (a GPU, an RDMA
//! adapter) looks pages up, which takes time and may sleep, and then uses them. Meanwhile they may
//! go away. A [`Registration`] on a range makes that safe, as a lock with retries: it holds the
//! *shadow*, what the driver has noted about the range, under a lock.
//!
//! * *Invalidating*: the kernel tells that pages in the range go away. The shadow is locked and
//!   [`Invalidate::invalidate`] takes them out of it. When it has returned they are not used any
//!   more. Where telling a device takes long, this may be done in *two passes*
//!   ([`InvalidateInTwoPasses`]): all devices that have the range are told first, and waited for
//!   then.
//! * *Reading*: [`Registration::read`] waits for invalidations to be over, calls a function that
//!   looks pages up, locks the shadow, and if nothing was invalidated meanwhile, calls another one
//!   that notes them in it. Else it begins again.
//!
//! The steps cannot be done out of order, because they are the callee's:
//!
//! ```text
//!       Registration::read                     the kernel
//!   +-> begin, wait for the range to be quiet
//!   |   look up (may sleep)                     invalidate: lock, note it, take pages out, unlock
//!   |   lock
//!   +-- invalidated meanwhile? unlock, again
//!       commit
//!       unlock
//! ```
//!
//! # What holds
//!
//! * Dropping a registration does not wait, and is allowed in any callback, its own included: it is
//!   removed and freed later, by a work item. Callbacks may run until then; the notifier is dropped
//!   after the last one. [`Registration::unregister`] waits for this, for callers in process
//!   context.
//! * Before it is removed, it is invalidated as a whole ([`Event::Release`]).
//! * Where the kernel cannot wait (the OOM killer), the shadow's lock is only tried, and
//!   [`IntervalNotifier::try_invalidate`] is called, which may refuse. If the lock is held, or it
//!   refuses, then the kernel is told that this range cannot be invalidated now.
//! * After the address space has ended there may be one more call, for all of it
//!   ([`Event::Release`]).
//! * A registration does not keep its module loaded. If it was leaked it is invalidated as a whole
//!   and removed when the module goes, before its text is freed. Its methods return [`ENODEV`]
//!   then.
//! * While the shadow is locked, page faults are disabled, and allocations do not reclaim memory:
//!   both could invalidate the range, which needs the lock. A copy to or from user memory that
//!   would fault fails with [`EFAULT`], and an allocation that would reclaim takes from the
//!   reserves of the kernel (`PF_MEMALLOC`): allocate outside.
//! * Unmapping pages of the range in a closure that has the shadow locked, as by
//!   `VmaRef::zap_vma_range()`, calls [`IntervalNotifier::invalidate_while_locked`] at once, and
//!   invalidates the shadow when the closure returns. A kernel with `PROVE_LOCKING` reports it as a
//!   possible deadlock, because lockdep cannot see that Tether does not take the lock a second
//!   time.
//! * Waiting in such a closure for the `mmap_lock`, or for a thread that locks the shadow or
//!   changes the address space, can deadlock as with any lock; a kernel with `PROVE_LOCKING`
//!   reports the former.
//!
//! # Examples
//!
//! ```
//! use kernel::{
//!     mm::{
//!         interval_notifier::{
//!             new_interval_notifier,
//!             IntervalNotifier,
//!             Invalidate,
//!             OnePass,
//!             Registration, //
//!         },
//!         mmu_notifier::{
//!             Range,
//!             WouldSleep, //
//!         },
//!         MmWithUser, //
//!     },
//!     page::PAGE_SHIFT,
//!     prelude::*, //
//! };
//!
//! struct Mirror;
//!
//! impl IntervalNotifier for Mirror {
//!     /// What the device's page table has, for each page of the range.
//!     type Shadow = KVec<Option<u64>>;
//!     type Passes = OnePass;
//!
//!     fn try_invalidate(
//!         &self,
//!         _range: &Range<'_>,
//!         _table: &mut Self::Shadow,
//!     ) -> Result<(), WouldSleep> {
//!         // It would have to wait for its device.
//!         Err(WouldSleep)
//!     }
//! }
//!
//! impl Invalidate for Mirror {
//!     fn invalidate(&self, _range: &Range<'_>, table: &mut Self::Shadow) {
//!         // All of it, to be short. A driver would tell its device here, and wait for that.
//!         table.fill(None);
//!     }
//! }
//!
//! /// Mirrors a range of an address space.
//! fn mirror(
//!     mm: &MmWithUser,
//!     start: usize,
//!     pages: usize,
//! ) -> Result<Pin<KBox<Registration<Mirror>>>> {
//!     let table = KVec::from_elem(None, pages, GFP_KERNEL)?;
//!     let length = pages << PAGE_SHIFT;
//!     KBox::pin_init(
//!         new_interval_notifier!(mm, start, length, Mirror, table),
//!         GFP_KERNEL,
//!     )
//! }
//!
//! /// The device has no entry for a page: finds it, and enters it if it is still there.
//! fn fault(mirror: &Registration<Mirror>, index: usize, find: impl Fn() -> Result<u64>) -> Result {
//!     mirror.read(find, |frame, table| table[index] = Some(frame))
//! }
//! # let _ = (mirror, |it: &Registration<Mirror>| fault(it, 0, || Err(EFAULT)));
//! ```
//!
//! C header: [`include/linux/mmu_notifier.h`](srctree/include/linux/mmu_notifier.h)
//!
//! [`Event::Release`]: super::mmu_notifier::Event::Release

use super::{
    mmu_notifier::{
        in_place,
        without_blocking,
        Range,
        WouldSleep, //
    },
    space::{
        Head,
        Kind,
        Patience,
        SpaceRef, //
    },
    Mm,
    MmWithUser, //
};
use crate::{
    bindings,
    container_of,
    prelude::*,
    sync::{
        atomic::Atomic,
        LockClassKey, //
    },
    tether::{
        lock_class,
        write_once,
        Owner,
        What, //
    },
    time::Delta,
    types::Opaque, //
};
use core::{
    any::type_name,
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::{
        self,
        NonNull, //
    }, //
};

// The paths are for the external build, whose root names this file by one.
#[path = "interval_notifier/shadow.rs"]
mod shadow;
#[path = "interval_notifier/slot.rs"]
mod slot;

pub use shadow::Shadow;
use shadow::{
    Guard,
    Missed,
    Scope, //
};
#[doc(hidden)]
pub use slot::Slot;

/// Creates a [`Registration`] initialiser, with a lock class of its own.
#[macro_export]
macro_rules! new_interval_notifier {
    ($mm:expr, $start:expr, $length:expr, $notifier:expr, $shadow:expr $(,)?) => {
        $crate::mm::interval_notifier::Registration::new(
            $mm,
            $start,
            $length,
            $notifier,
            $shadow,
            $crate::optional_name!(),
            $crate::static_lock_class!(),
        )
    };
}
pub use crate::new_interval_notifier;

/// A notifier of a range of an address space: it is called for invalidations in the range.
pub trait IntervalNotifier: Sized + Send + Sync + 'static {
    /// What is noted about the range.
    type Shadow: Send + Unpin;

    /// [`OnePass`], of an [`Invalidate`], or [`TwoPasses`], of an [`InvalidateInTwoPasses`].
    type Passes: Passes<Self>;

    /// Whether `range` is the notifier's own doing, by its [`Range::owner`], and what the shadow
    /// has of it still holds. It does not hear of it then, and who reads does not read again.
    ///
    /// Called without the lock. Must not sleep.
    fn is_own(&self, _range: &Range<'_>) -> bool {
        false
    }

    /// Pages in `range` go away because of a closure that has the shadow locked, in the same task:
    /// makes the device stop using them. The shadow is invalidated when the closure returns.
    ///
    /// # Context
    ///
    /// As [`Invalidate::invalidate`].
    fn invalidate_while_locked(&self, _range: &Range<'_>) {}

    /// As [`Invalidate::invalidate`], but `range` is not blockable: must not sleep. (A kernel with
    /// `DEBUG_ATOMIC_SLEEP` says so if it does.)
    ///
    /// # Errors
    ///
    /// [`WouldSleep`]: the caller in the kernel does without this range for now. The shadow must be
    /// as it was.
    fn try_invalidate(
        &self,
        range: &Range<'_>,
        shadow: &mut Self::Shadow,
    ) -> core::result::Result<(), WouldSleep>;
}

/// Invalidates in one pass.
pub trait Invalidate: IntervalNotifier {
    /// Pages in `range` go away: stop using those, and take them out of `shadow`, before
    /// returning.
    ///
    /// `range` is blockable, and may be larger than the range that is registered. Called with the
    /// shadow's lock held, by any task that changes the address space. May sleep, but must not wait
    /// for memory.
    fn invalidate(&self, range: &Range<'_>, shadow: &mut Self::Shadow);
}

/// Invalidates in two passes: what is waited for in the second one was begun for all notifiers in
/// the first, so that they wait at the same time.
pub trait InvalidateInTwoPasses: IntervalNotifier {
    /// The operation that the first pass has begun.
    type Begun: Send;

    /// Pages in `range` go away: take them out of `shadow`, and begin to make the device stop using
    /// them. If there is nothing to wait for then that is all.
    ///
    /// Context: as [`Invalidate::invalidate`].
    fn begin(&self, range: &Range<'_>, shadow: &mut Self::Shadow) -> Option<Self::Begun>;

    /// Waits for the operation that [`InvalidateInTwoPasses::begin`] has begun. The pages are not
    /// used any more when this returns.
    ///
    /// Called once for each [`InvalidateInTwoPasses::begin`] that has returned something, by the
    /// same task; other invalidations of the range may be between them. If there are such, it may
    /// be called just after it. The shadow is not locked, and can be.
    ///
    /// # Context
    ///
    /// Process context. May sleep, but must not wait for memory, and must not look anything up on
    /// the same address space ([`Registration::read`], [`Registration::fault`]): the invalidation
    /// that waits for this is still in progress, so that the look-up would wait for it.
    fn finish(&self, begun: Self::Begun, shadow: &Shadow<Self::Shadow>);
}

/// How an [`IntervalNotifier`] invalidates; see [`IntervalNotifier::Passes`].
#[diagnostic::on_unimplemented(
    message = "`{T}` does not have the callbacks that `{Self}` stands for",
    label = "`Invalidate` or `InvalidateInTwoPasses` is to be implemented for `{T}`"
)]
pub trait Passes<T: IntervalNotifier>: private::Sealed<T> {}

mod private {
    use super::{
        bindings,
        IntervalNotifier,
        Range,
        Shadow, //
    };

    /// Implemented for the pairs of passes and a notifier that has their trait.
    ///
    /// With the parameter, as another crate may implement a foreign trait for a foreign type if a
    /// parameter of the trait is its own.
    pub trait Sealed<T: IntervalNotifier> {
        /// Where the result of the first pass is kept until the second one.
        type Slot: Default;

        /// The result of the first pass.
        type Begun;

        /// The callbacks, for the kernel.
        const OPS: bindings::mmu_interval_notifier_ops;

        /// The first pass, or all of it.
        fn begin(notifier: &T, range: &Range<'_>, shadow: &mut T::Shadow) -> Option<Self::Begun>;

        /// The second pass.
        fn finish(notifier: &T, begun: Self::Begun, shadow: &Shadow<T::Shadow>);
    }
}
use private::Sealed;

/// [`Invalidate`].
pub struct OnePass;
/// [`InvalidateInTwoPasses`].
pub struct TwoPasses;

impl<T: Invalidate> Passes<T> for OnePass {}
impl<T: Invalidate> Sealed<T> for OnePass {
    type Slot = ();
    type Begun = ();

    const OPS: bindings::mmu_interval_notifier_ops = bindings::mmu_interval_notifier_ops {
        invalidate: Some(Inner::<T>::invalidate_callback),
        ..pin_init::zeroed()
    };

    fn begin(notifier: &T, range: &Range<'_>, shadow: &mut T::Shadow) -> Option<()> {
        notifier.invalidate(range, shadow);
        None
    }

    fn finish(_notifier: &T, _begun: (), _shadow: &Shadow<T::Shadow>) {}
}

impl<T: InvalidateInTwoPasses<Passes = TwoPasses>> Passes<T> for TwoPasses {}
impl<T: InvalidateInTwoPasses<Passes = TwoPasses>> Sealed<T> for TwoPasses {
    type Slot = Slot<T::Begun>;
    type Begun = T::Begun;

    const OPS: bindings::mmu_interval_notifier_ops = bindings::mmu_interval_notifier_ops {
        invalidate_start: Some(Inner::<T>::invalidate_start_callback),
        invalidate_finish: Some(Inner::<T>::invalidate_finish_callback),
        ..pin_init::zeroed()
    };

    fn begin(notifier: &T, range: &Range<'_>, shadow: &mut T::Shadow) -> Option<T::Begun> {
        notifier.begin(range, shadow)
    }

    fn finish(notifier: &T, begun: T::Begun, shadow: &Shadow<T::Shadow>) {
        notifier.finish(begun, shadow);
    }
}

/// An interval notifier that is inserted, in memory of its own.
///
/// # Invariants
///
/// * `subscription` is inserted from when it is attached until it is removed, with callbacks of
///   `T`.
/// * Its sequence is only written under the lock of `shadow`, and `head` is marked as ended under
///   that.
/// * Its `mm` is valid while the head is: its space keeps it.
#[pin_data]
#[repr(C)]
struct Inner<T: IntervalNotifier> {
    #[pin]
    head: Head,
    #[pin]
    subscription: Opaque<bindings::mmu_interval_notifier>,
    #[pin]
    shadow: Shadow<T::Shadow>,
    slot: <T::Passes as Sealed<T>>::Slot,
    notifier: T,
}

/// An [`IntervalNotifier`] that is registered on a range of an address space.
///
/// Dropping it does not wait: it is removed and freed later, see [`Registration::unregister`].
///
/// # Context
///
/// May be dropped in any context, and inside any callback.
///
/// # Invariants
///
/// `inner` is valid, and one of the references to its head is the registration's. It was inserted,
/// with callbacks of `T`, and is removed by the end of its module or after this was dropped.
pub struct Registration<T: IntervalNotifier> {
    inner: NonNull<Inner<T>>,
    /// Invariant in `T`: the callbacks were chosen by it.
    _type: PhantomData<*mut T>,
}

// SAFETY: A registration may be dropped on another thread than where it was made.
unsafe impl<T: IntervalNotifier> Send for Registration<T> {}
// SAFETY: A shared reference gives the notifier, which is `Sync`, and what is under the lock, which
// is `Send`.
unsafe impl<T: IntervalNotifier> Sync for Registration<T> {}

impl<T: IntervalNotifier> Registration<T> {
    const WHAT: &'static What = &Head::what("interval_notifier", type_name::<T>);

    const KIND: &'static Kind = &Kind {
        remove: Self::remove,
        free: Self::free,
    };

    const OPS: &'static bindings::mmu_interval_notifier_ops = &<T::Passes as Sealed<T>>::OPS;

    /// Registers `notifier` on `length` bytes from `start`; use [`new_interval_notifier!`].
    ///
    /// # Context
    ///
    /// Process context; sleeps. For the first registration on `mm` this takes the `mmap_lock` of
    /// `mm` for writing, and the lock of each of its VMAs. The caller must hold none of them, and
    /// must not be in a callback of a notifier.
    ///
    /// # Errors
    ///
    /// * [`EOVERFLOW`] if the range is empty, or goes beyond the last address;
    /// * those of [`mmu_notifier::Registration::new`](super::mmu_notifier::Registration::new).
    ///
    /// C: `mmu_interval_notifier_insert()` in [`mm/mmu_notifier.c`](srctree/mm/mmu_notifier.c).
    #[doc(alias = "mmu_interval_notifier_insert")]
    #[inline]
    pub fn new<'a>(
        mm: &'a MmWithUser,
        start: usize,
        length: usize,
        notifier: T,
        shadow: T::Shadow,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl Init<Self, Error> + 'a {
        in_place(move || Self::insert(mm, start, length, notifier, shadow, name, key))
    }

    /// As [`Registration::new`].
    pub(super) fn insert(
        mm: &MmWithUser,
        start: usize,
        length: usize,
        notifier: T,
        shadow: T::Shadow,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> Result<Self> {
        let owner = Owner::of(Self::remove as *const ())?;
        let space = SpaceRef::get(mm)?;
        // The registration may outlive its module, in the hands of another one.
        let (name, key) = lock_class::permanent(name, key);
        let inner = KBox::pin_init(
            try_pin_init!(Inner {
                head <- Head::new(owner, Self::WHAT, Self::KIND, space),
                // All of it is written when it is inserted.
                subscription: Opaque::uninit(),
                shadow <- Shadow::new(shadow, owner, Inner::<T>::catch_up, name, key),
                slot: Default::default(),
                notifier,
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )?;
        let insert = || {
            let space = inner.head.space();
            // SAFETY: The subscription is pinned, is not inserted, and stays, as the functions do,
            // until it was removed: the head is freed after that.
            unsafe { space.insert(mm, inner.subscription.get(), start, length, Self::OPS) }
        };
        // SAFETY: The head stays pinned, and valid until it was removed, which is after it was
        // detached, or released.
        unsafe { inner.head.attachment().attach(insert) }?;
        // SAFETY: It stays pinned: it is only moved out of by being freed.
        let inner = KBox::leak(unsafe { Pin::into_inner_unchecked(inner) });
        // INVARIANT: It was inserted just now, with callbacks of `T`; the handle's reference is
        // counted from the beginning.
        Ok(Self {
            inner: NonNull::from(inner),
            _type: PhantomData,
        })
    }

    #[inline(always)]
    fn inner(&self) -> &Inner<T> {
        // SAFETY: By the type's invariants `inner` is valid, and the handle keeps a reference.
        unsafe { self.inner.as_ref() }
    }

    /// The notifier.
    #[inline]
    pub fn notifier(&self) -> &T {
        &self.inner().notifier
    }

    /// Whether `mm` is the address space that it is registered on. A child of its process, and a
    /// program that this executes, have others.
    #[inline]
    pub fn is_on(&self, mm: &Mm) -> bool {
        ptr::eq(self.mm().as_raw(), mm.as_raw())
    }

    /// The address space that it is registered on.
    #[inline]
    pub fn mm(&self) -> &Mm {
        self.inner().head.space().mm()
    }

    /// What is noted about the range.
    #[inline]
    pub fn shadow(&self) -> &Shadow<T::Shadow> {
        &self.inner().shadow
    }

    /// Looks something up in the address space, and notes it in the shadow, if it still holds.
    ///
    /// `look_up` is called without a lock, and may sleep. If something in the range was
    /// invalidated meanwhile its result is dropped, and it is called again. Else `commit` gets it,
    /// with the shadow, which is locked: nothing in the range is invalidated until it returns. In
    /// `commit`, page faults are disabled and allocations do not reclaim; see
    /// [the module](self#what-holds).
    ///
    /// # Context
    ///
    /// Process context; sleeps. Must not be called inside a callback.
    ///
    /// # Errors
    ///
    /// * an error of `look_up` ends this;
    /// * [`ENODEV`] if the end of its module has removed the registration;
    /// * [`EDEADLK`] if the caller has the shadow locked, or is in an interrupt;
    /// * [`EINTR`] if the task is being killed, or a kernel thread asked to stop, while it begins
    ///   again; [`EBUSY`] if a kernel thread, or a task in its exit, has begun again for ten
    ///   seconds.
    ///
    /// C: `mmu_interval_read_begin()` and `mmu_interval_read_retry()`.
    #[doc(alias = "mmu_interval_read_begin")]
    #[doc(alias = "mmu_interval_read_retry")]
    #[inline]
    pub fn read<V, R>(
        &self,
        look_up: impl FnMut() -> Result<V>,
        commit: impl FnOnce(V, &mut T::Shadow) -> R,
    ) -> Result<R> {
        self.read_within(None, look_up, commit)
    }

    /// As [`Registration::read`], but gives up with [`EBUSY`] if it has begun again for `timeout`.
    #[inline]
    pub fn read_timeout<V, R>(
        &self,
        timeout: Delta,
        look_up: impl FnMut() -> Result<V>,
        commit: impl FnOnce(V, &mut T::Shadow) -> R,
    ) -> Result<R> {
        self.read_within(Some(timeout), look_up, commit)
    }

    #[inline(always)]
    fn read_within<V, R>(
        &self,
        timeout: Option<Delta>,
        mut look_up: impl FnMut() -> Result<V>,
        commit: impl FnOnce(V, &mut T::Shadow) -> R,
    ) -> Result<R> {
        let subscription = self.inner().subscription.get();
        let mut patience = None;
        // SAFETY: The function has no requirements.
        let task = unsafe { bindings::tether_current_if_may_sleep() };
        // In a callback that has the shadow locked, the kernel's function below would wait for that
        // callback.
        if task.is_null() || self.inner().shadow.is_locked_by(task) {
            return Err(EDEADLK);
        }
        loop {
            if self.inner().head.is_ended() {
                return Err(ENODEV);
            }
            // SAFETY: The subscription was inserted, and its address space is kept, by the type's
            // invariants: all that this looks at is valid, also if it was removed meanwhile.
            let sequence = unsafe { bindings::mmu_interval_read_begin(subscription) };
            let value = look_up()?;
            if let Some(mut shadow) = self.lock_if_quiet(task, sequence)? {
                return Ok(commit(value, &mut shadow));
            }
            patience
                .get_or_insert_with(|| Patience::new(timeout))
                .check()?;
        }
    }

    /// Locks the shadow, if nothing was invalidated since `mmu_interval_read_begin()` has returned
    /// `sequence`. `task` is the current task.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if it was removed; [`EDEADLK`] if the current task has the shadow locked.
    #[inline(always)]
    pub(super) fn lock_if_quiet(
        &self,
        task: *mut bindings::task_struct,
        sequence: usize,
    ) -> Result<Option<Guard<'_, T::Shadow>>> {
        let inner = self.inner();
        let shadow = inner.shadow.lock_by(task).ok_or(EDEADLK)?;
        // Set under this lock, before the subscription is removed.
        if inner.head.is_ended() {
            return Err(ENODEV);
        }
        let quiet = shadow.is_quiet(inner.sequence(), sequence);
        Ok(quiet.then_some(shadow))
    }

    /// Whether the end of its module has removed it.
    #[cfg(CONFIG_HMM_MIRROR)]
    pub(super) fn is_ended(&self) -> bool {
        self.inner().head.is_ended()
    }

    /// The subscription that the kernel knows.
    #[cfg(CONFIG_HMM_MIRROR)]
    pub(super) fn as_raw(&self) -> *mut bindings::mmu_interval_notifier {
        self.inner().subscription.get()
    }

    /// Whether `length` bytes from `start`, and not none, are in the range that is registered.
    #[cfg(CONFIG_HMM_MIRROR)]
    pub(super) fn contains(&self, start: usize, length: usize) -> bool {
        // SAFETY: The subscription was inserted, by the type's invariants. Its range does not
        // change, not even when it is removed.
        let node = unsafe { &(*self.inner().subscription.get()).interval_tree };
        length != 0
            && start >= node.start
            && start
                .checked_add(length - 1)
                .is_some_and(|last| last <= node.last)
    }

    /// Removes the notifier, and waits until it was removed and dropped.
    ///
    /// # Context
    ///
    /// Process context; sleeps. Must not be called in a callback of a notifier, nor with locks held
    /// that a callback takes.
    ///
    /// # Errors
    ///
    /// * [`ENODEV`] if the end of the module has removed it;
    /// * [`EINTR`] if the task is being killed, or a kernel thread asked to stop; [`EBUSY`] if it
    ///   was not removed after ten seconds; [`ENOMEM`]. The notifier is then removed and dropped
    ///   later;
    /// * [`EDEADLK`] where the caller may not sleep. The notifier is then removed and dropped
    ///   later.
    ///
    /// C: `mmu_interval_notifier_remove()` in [`mm/mmu_notifier.c`](srctree/mm/mmu_notifier.c).
    #[doc(alias = "mmu_interval_notifier_remove")]
    pub fn unregister(self) -> Result {
        let this = ManuallyDrop::new(self);
        // SAFETY: It was inserted, by the type's invariants. The reference is ours, and is not used
        // again, as the drop is left out.
        unsafe { this.inner().head.unregister(Self::KIND) }
    }

    /// # Safety
    ///
    /// As [`Kind::remove`] says, for the head of an `Inner<T>`.
    unsafe fn remove(head: NonNull<Head>) {
        // SAFETY: By the function's contract.
        let inner = unsafe { head.cast::<Inner<T>>().as_ref() };
        inner.end();
        // SAFETY: By the function's contract it is inserted, and this is no callback.
        unsafe { bindings::mmu_interval_notifier_remove(inner.subscription.get()) };
        // Until it was removed, a task of another module may have taken the lock and invalidated
        // the range, and calls `catch_up()` of this module when it releases the lock. Neither this
        // task nor a work item has the lock.
        drop(inner.shadow.lock());
    }

    /// # Safety
    ///
    /// As [`Kind::free`] says, for the head of an `Inner<T>`.
    unsafe fn free(head: NonNull<Head>) {
        // SAFETY: By the function's contract nothing uses it any more; `insert()` has leaked it
        // from a box.
        drop(unsafe { KBox::from_raw(head.cast::<Inner<T>>().as_ptr()) });
    }
}

impl<T: IntervalNotifier> Drop for Registration<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: It was inserted, by the type's invariants. The reference is ours, and is not used
        // again.
        unsafe { self.inner().head.drop_handle(Self::KIND) };
    }
}

impl<T: IntervalNotifier> Inner<T> {
    /// Marks it as ended, and invalidates all of it, as the kernel does when the address space
    /// ends.
    fn end(&self) {
        // By a work item, or by the task that removes the module: neither has it locked.
        let Some(shadow) = self.shadow.lock() else {
            return;
        };
        // INVARIANT: The lock is held.
        self.head.set_ended();
        self.invalidate_now(
            shadow,
            bindings::mmu_notifier_event_MMU_NOTIFY_RELEASE,
            0,
            usize::MAX,
        );
    }

    /// Invalidates a range that the kernel does not call for, and unlocks.
    fn invalidate_now(
        &self,
        mut shadow: Guard<'_, T::Shadow>,
        event: bindings::mmu_notifier_event,
        start: usize,
        end: usize,
    ) {
        let mut raw = bindings::mmu_notifier_range {
            mm: self.head.space().mm().as_raw(),
            start,
            end,
            flags: bindings::MMU_NOTIFIER_RANGE_BLOCKABLE,
            event,
            owner: ptr::null_mut(),
        };
        let mut first_begun = None;
        let mut more_begun = KVec::new();
        // A notifier that invalidates a range itself, in its callback, misses that range. A call of
        // this function for each of them would need a stack without a limit.
        loop {
            let begun = {
                // SAFETY: The range is valid, as it is on the stack, and so is its address space.
                let range = unsafe { Range::from_raw(&raw) };
                <T::Passes as Sealed<T>>::begin(&self.notifier, &range, &mut shadow)
            };
            if first_begun.is_none() {
                first_begun = begun;
            } else if let Some(begun) = begun {
                if more_begun.push(begun, GFP_NOWAIT).is_err() {
                    // The lock stays locked, as after a panic in the notifier.
                    panic!("no memory to invalidate what an interval notifier has unmapped");
                }
            }
            let Some(missed) = shadow.take_missed() else {
                break;
            };
            raw.start = missed.start;
            raw.end = missed.end;
            raw.event = bindings::mmu_notifier_event_MMU_NOTIFY_CLEAR;
        }
        drop(shadow);
        for begun in Iterator::chain(first_begun.into_iter(), more_begun) {
            <T::Passes as Sealed<T>>::finish(&self.notifier, begun, &self.shadow);
        }
    }

    /// Invalidates a range that the kernel has called for while the shadow was locked by the same
    /// task, and unlocks.
    ///
    /// # Safety
    ///
    /// `shadow` must be that of an `Inner<T>`, locked by the current task with `scope`, and not be
    /// used by it any more.
    #[cold]
    unsafe fn catch_up(shadow: *const c_void, missed: Missed, scope: Scope) {
        let shadow = shadow.cast_mut().cast::<Shadow<T::Shadow>>();
        // SAFETY: By the function's contract `shadow` is a field of an `Inner<T>`, which is valid.
        let this = unsafe { &*container_of!(shadow, Self, shadow) };
        // SAFETY: By the function's contract this task has it locked with this scope.
        let guard = unsafe { Guard::of(&this.shadow, scope) };
        this.invalidate_now(
            guard,
            bindings::mmu_notifier_event_MMU_NOTIFY_CLEAR,
            missed.start,
            missed.end,
        );
    }

    /// The task that has the shadow locked invalidates a part of the range, in a closure that uses
    /// the shadow. It cannot be waited for, nor can the kernel be told to do without.
    #[cold]
    #[inline(never)]
    fn invalidate_while_locked(&self, range: &Range<'_>, sequence: usize) -> bool {
        // The lock is held, by this task.
        write_once(self.sequence(), sequence);
        self.notifier.invalidate_while_locked(range);
        // SAFETY: This task has it locked.
        unsafe { self.shadow.miss(range.start(), range.end()) };
        true
    }

    /// What a callback is for, and the range; or, where that needs no more, the callback's answer.
    ///
    /// # Safety
    ///
    /// `subscription` must be that of an `Inner<T>`, inserted, and `range` be valid, both for
    /// `'a`.
    #[inline(always)]
    unsafe fn called_for<'a>(
        subscription: *mut bindings::mmu_interval_notifier,
        range: *const bindings::mmu_notifier_range,
        sequence: usize,
    ) -> core::result::Result<(&'a Self, Range<'a>), bool> {
        let field = Opaque::cast_from(subscription).cast_mut();
        // SAFETY: By the function's contract. A registration that is inserted is valid.
        let (this, range) = unsafe {
            (
                &*container_of!(field, Self, subscription),
                Range::from_raw(range),
            )
        };
        if this.notifier.is_own(&range) {
            return Err(true);
        }
        if !range.is_blockable() {
            return Err(this.invalidate_without_blocking(range, sequence));
        }
        Ok((this, range))
    }

    /// The sequence of the subscription. It is written under the lock of the shadow.
    #[inline(always)]
    fn sequence(&self) -> &Atomic<usize> {
        // SAFETY: The subscription is valid for as long as `self`. The kernel accesses this word by
        // `READ_ONCE()` and `WRITE_ONCE()` from when the subscription is inserted.
        unsafe { Atomic::from_ptr(&raw mut (*self.subscription.get()).invalidate_seq) }
    }

    /// Invalidates where the caller must not wait. Returns whether it could.
    #[cold]
    fn invalidate_without_blocking(&self, range: Range<'_>, sequence: usize) -> bool {
        // Who has the lock may sleep.
        let Some(mut shadow) = self.shadow.try_lock() else {
            return false;
        };
        // The sequence is updated also if the invalidation is refused: a concurrent reader merely
        // retries.
        shadow.set_sequence(self.sequence(), sequence);
        // The core checks this for notifiers of a whole address space only.
        without_blocking(|| self.notifier.try_invalidate(&range, &mut shadow)).is_ok()
    }
}

impl<T: Invalidate> Inner<T> {
    /// # Safety
    ///
    /// `subscription` must be that of an `Inner<T>`, inserted, and `range` valid.
    unsafe extern "C" fn invalidate_callback(
        subscription: *mut bindings::mmu_interval_notifier,
        range: *const bindings::mmu_notifier_range,
        sequence: usize,
    ) -> bool {
        // SAFETY: By the function's contract.
        let (this, range) = match unsafe { Self::called_for(subscription, range, sequence) } {
            Ok(called_for) => called_for,
            Err(done) => return done,
        };
        let Some(mut shadow) = this.shadow.lock() else {
            return this.invalidate_while_locked(&range, sequence);
        };
        shadow.set_sequence(this.sequence(), sequence);
        this.notifier.invalidate(&range, &mut shadow);
        true
    }
}

impl<T: InvalidateInTwoPasses<Passes = TwoPasses>> Inner<T> {
    /// # Safety
    ///
    /// `subscription` must be that of an `Inner<T>`, inserted, `range` valid, and `finish` valid
    /// for writes.
    unsafe extern "C" fn invalidate_start_callback(
        subscription: *mut bindings::mmu_interval_notifier,
        range: *const bindings::mmu_notifier_range,
        sequence: usize,
        finish: *mut *mut bindings::mmu_interval_notifier_finish,
    ) -> bool {
        // SAFETY: By the function's contract.
        let (this, range) = match unsafe { Self::called_for(subscription, range, sequence) } {
            Ok(called_for) => called_for,
            Err(done) => return done,
        };
        let begun = {
            let Some(mut shadow) = this.shadow.lock() else {
                return this.invalidate_while_locked(&range, sequence);
            };
            shadow.set_sequence(this.sequence(), sequence);
            this.notifier.begin(&range, &mut shadow)
        };
        let Some(begun) = begun else {
            return true;
        };
        match this.slot.put(begun) {
            // SAFETY: By the function's contract. The kernel calls the other pass before this
            // invalidation ends, and the removal of the registration waits for that.
            Ok(linked) => unsafe { *finish = linked },
            Err(begun) => this.notifier.finish(begun, &this.shadow),
        }
        true
    }

    /// # Safety
    ///
    /// `finish` must be that of the slot of an `Inner<T>`, which
    /// [`Self::invalidate_start_callback`] has given; it is given back.
    unsafe extern "C" fn invalidate_finish_callback(
        finish: *mut bindings::mmu_interval_notifier_finish,
    ) {
        // SAFETY: By the function's contract; the kernel has set the notifier, which is inserted.
        let this = unsafe {
            let field = Opaque::cast_from((*finish).notifier).cast_mut();
            &*container_of!(field, Self, subscription)
        };
        // SAFETY: This is the second pass of the invalidation that has put a value.
        let begun = unsafe { this.slot.take() };
        this.notifier.finish(begun, &this.shadow);
    }
}
