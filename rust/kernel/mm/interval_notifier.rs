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
        Range,
        WouldSleep, //
    },
    space::{
        Head,
        Kind,
        SpaceRef, //
    },
    Mm,
    MmWithUser, //
};
use crate::{
    bindings,
    prelude::*,
    sync::LockClassKey,
    tether::{
        lock_class,
        Owner,
        What, //
    },
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

// The external build needs the paths: its root includes this folder by a path.
#[path = "interval_notifier/invalidation.rs"]
mod invalidation;
#[path = "interval_notifier/passes.rs"]
mod passes;
#[path = "interval_notifier/read.rs"]
mod read;
#[path = "interval_notifier/shadow.rs"]
mod shadow;
#[path = "interval_notifier/slot.rs"]
mod slot;

pub use passes::{
    Invalidate,
    InvalidateInTwoPasses,
    OnePass,
    TwoPasses, //
};
pub use shadow::Shadow;
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
