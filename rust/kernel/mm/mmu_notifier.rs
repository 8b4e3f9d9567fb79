// SPDX-License-Identifier: GPL-2.0

//! Being told when the pages of an address space go away.
//!
//! A [`Registration`] of an [`MmuNotifier`] hears of every range of an address space whose pages
//! are about to be unmapped, moved or changed, and of the end of that address space. To watch some
//! ranges only, and to build page tables of one's own for them, see [`interval_notifier`].
//!
//! # What a notifier may hear
//!
//! | [`MmuNotifier::Callbacks`] | trait | hears of |
//! |---|---|---|
//! | [`ReleaseOnly`] | | the end of the address space |
//! | [`Ranges`] | [`InvalidateRanges`] | ranges, before and after they change; cannot object |
//! | [`TryRanges`] | [`TryInvalidateRanges`] | ranges, before they change; may ask for a retry where it must not sleep |
//! | [`SecondaryTlbs`] | [`InvalidateSecondaryTlbs`] | flushes of the TLB, for a device that uses the CPU's page tables |
//! | [`WithAge<C>`] | [`Age`], and that of `C` | which pages were used, besides |
//!
//! These are the combinations that the kernel allows: a notifier that could fail in `start` would
//! not know of which `end` it is to hear, and one for secondary TLBs hears of the same things a
//! second time.
//!
//! # What is called when
//!
//! ```text
//!   munmap(), madvise(), mprotect(), reclaim, ...         the last user of the mm is gone
//!      invalidate_range_start(range)                         release()
//!      ... the page tables change ...                         ... all pages go, unannounced ...
//!      invalidate_range_end(range)
//! ```
//!
//! * Between `start` and `end` of a range, pages in it may or may not be there. Ranges may nest,
//!   overlap, and be invalidated by several tasks at once.
//! * `release` runs when the address space ends, or when the registration is removed before that:
//!   once. After it there is no page left that the notifier may use. `start` and `end` of other
//!   tasks (file truncation, say) may still be called until the registration was removed.
//! * A child that is forked, and a program that is executed, has an address space of its own,
//!   which nobody has registered on.
//!
//! # What holds
//!
//! * Dropping a registration does not wait, and is allowed in any callback: the notifier is removed
//!   and freed later, by a work item. Callbacks may run until then; the notifier is dropped after
//!   the last one. [`Registration::unregister`] waits for this, for callers in process context.
//! * A registration does not keep its module loaded. The module waits, when it is removed, until
//!   the notifiers that were dropped are freed. A registration that was leaked is removed before
//!   the text of the module is freed.
//! * It keeps the `mm_struct` (`mmgrab()`), but not the address space.
//!
//! # Examples
//!
//! ```
//! use kernel::{
//!     mm::{
//!         mmu_notifier::{
//!             InvalidateRanges,
//!             MmuNotifier,
//!             Range,
//!             Ranges,
//!             Registration, //
//!         },
//!         Mm,
//!     },
//!     prelude::*,
//!     sync::atomic::{
//!         Atomic,
//!         Relaxed, //
//!     }, //
//! };
//!
//! struct Counter {
//!     invalidated: Atomic<usize>,
//! }
//!
//! impl MmuNotifier for Counter {
//!     type Callbacks = Ranges;
//! }
//!
//! #[vtable]
//! impl InvalidateRanges for Counter {
//!     fn invalidate_range_start(&self, range: &Range<'_>) {
//!         self.invalidated.fetch_add(range.end() - range.start(), Relaxed);
//!     }
//! }
//!
//! /// Counts the bytes that the current process unmaps or changes.
//! fn count() -> Result<Pin<KBox<Registration<Counter>>>> {
//!     let task = current!();
//!     let mm = task.mm().ok_or(EINVAL)?;
//!     let counter = Counter {
//!         invalidated: Atomic::new(0),
//!     };
//!     KBox::pin_init(Registration::new(mm, counter), GFP_KERNEL)
//! }
//! # // This runs in a kernel thread, which has no address space.
//! # assert_eq!(count().err(), Some(EINVAL));
//! ```
//!
//! C header: [`include/linux/mmu_notifier.h`](srctree/include/linux/mmu_notifier.h)
//!
//! [`interval_notifier`]: super::interval_notifier

use super::{
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
    tether::{
        may_sleep,
        Owner,
        What, //
    }, //
};
use core::{
    any::type_name,
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

// The paths are for the external build, whose root names this file by one.
#[path = "mmu_notifier/callbacks.rs"]
mod callbacks;
#[path = "mmu_notifier/ops.rs"]
mod ops;
#[path = "mmu_notifier/range.rs"]
mod range;
#[path = "mmu_notifier/subscribed.rs"]
mod subscribed;

pub use callbacks::{
    Age,
    InvalidateRanges,
    InvalidateSecondaryTlbs,
    Ranges,
    ReleaseOnly,
    SecondaryTlbs,
    TryInvalidateRanges,
    TryRanges,
    WithAge,
    WouldSleep, //
};
#[doc(hidden)]
pub use ops::Ops;
pub use range::{
    Event,
    Range, //
};
pub(super) use subscribed::Subscribed;
#[doc(hidden)]
pub use subscribed::{
    MayRefuse,
    Refusal, //
};

/// Calls `f` where it must not sleep: with `DEBUG_ATOMIC_SLEEP` the kernel says so if it does.
///
/// Not with `PREEMPT_RT`, where it would say so of a spinlock as well.
pub(super) fn without_blocking<R>(f: impl FnOnce() -> R) -> R {
    if cfg!(CONFIG_PREEMPT_RT) {
        return f();
    }
    // SAFETY: The section ends below, in the same task.
    unsafe { bindings::non_block_start() };
    let result = f();
    // SAFETY: It was begun above.
    unsafe { bindings::non_block_end() };
    result
}

/// A notifier of an address space: it is called for its invalidations and for its end.
pub trait MmuNotifier: Sized + Send + Sync + 'static {
    /// The callbacks that it has, besides that for the end of the address space.
    type Callbacks: Callbacks<Self>;

    /// The address space ends, or the registration is being removed. Called once. May sleep.
    fn release(&self, _mm: &Mm) {}
}

/// A combination of callbacks that the kernel allows; see [`MmuNotifier::Callbacks`].
#[diagnostic::on_unimplemented(
    message = "`{T}` does not have the callbacks that `{Self}` stands for",
    label = "the trait of these callbacks is to be implemented for `{T}`"
)]
pub trait Callbacks<T>: private::Sealed<T> {}

mod private {
    use super::{
        Ops,
        Refusal, //
    };

    /// Implemented for the pairs of a combination and a notifier that has its traits.
    ///
    /// With the parameter, as another crate may implement a foreign trait for a foreign type if a
    /// parameter of the trait is its own.
    pub trait Sealed<T> {
        /// The callbacks, for the kernel.
        const OPS: Ops;

        /// [`MayRefuse`](super::MayRefuse) if the notifier may refuse, else nothing.
        type Refuses: Refuses;
    }

    /// What a notifier has of its own to refuse with.
    pub trait Refuses: Default {
        fn refusal(&self) -> Option<Refusal>;
    }

    impl Refuses for () {
        fn refusal(&self) -> Option<Refusal> {
            None
        }
    }
}
/// A notifier that is registered, in memory of its own.
#[pin_data]
#[repr(C)]
struct Inner<T: MmuNotifier> {
    #[pin]
    head: Head,
    #[pin]
    subscribed: Subscribed<T>,
}

/// An [`MmuNotifier`] that is registered on an address space.
///
/// Dropping it does not wait: the notifier is removed and freed later, see
/// [`Registration::unregister`].
///
/// # Context
///
/// May be dropped in any context, and inside any callback.
///
/// # Invariants
///
/// `inner` is valid, and one of the references to its head is the registration's. It was
/// registered, with callbacks of `T`, and is removed by the end of its module or after this was
/// dropped.
pub struct Registration<T: MmuNotifier> {
    inner: NonNull<Inner<T>>,
    /// Invariant in `T`: the callbacks were chosen by it.
    _type: PhantomData<*mut T>,
}

// SAFETY: A registration may be dropped on another thread than that which has created it: the
// notifier is `Send`.
unsafe impl<T: MmuNotifier> Send for Registration<T> {}
// SAFETY: A shared reference only gives the notifier, which is `Sync`.
unsafe impl<T: MmuNotifier> Sync for Registration<T> {}

impl<T: MmuNotifier> Registration<T> {
    const WHAT: &'static What = &Head::what("mmu_notifier", type_name::<T>);

    const KIND: &'static Kind = &Kind {
        remove: Self::remove,
        free: Self::free,
    };

    /// Registers `notifier` on `mm`.
    ///
    /// Callbacks may come before this has returned.
    ///
    /// # Context
    ///
    /// Process context; sleeps. Takes the `mmap_lock` of `mm` for writing, and the lock of each of
    /// its VMAs. The caller must hold none of them, and must not be in a callback of a notifier.
    ///
    /// # Errors
    ///
    /// * [`ENOMEM`] if there is not enough memory;
    /// * [`EINTR`] if a signal is pending, or a kernel thread is asked to stop;
    /// * [`EDEADLK`] if the caller holds the `mmap_lock` of `mm` for writing, or is in an
    ///   interrupt;
    /// * [`EBUSY`] if this is a kernel thread or a task in its exit, and the `mmap_lock` or the
    ///   lock of a VMA was not free for ten seconds;
    /// * [`ENODEV`] if the module of the notifier is going, [`EINVAL`] if it is not known to
    ///   Tether.
    ///
    /// C: `__mmu_notifier_register()` in [`mm/mmu_notifier.c`](srctree/mm/mmu_notifier.c).
    #[doc(alias = "mmu_notifier_register")]
    pub fn new<'a, E>(
        mm: &'a MmWithUser,
        notifier: impl PinInit<T, E> + 'a,
    ) -> impl Init<Self, Error> + 'a
    where
        Error: From<E>,
        E: 'a,
    {
        in_place(move || {
            let owner = Owner::of(Self::remove as *const ())?;
            let space = SpaceRef::get(mm)?;
            let inner = KBox::<Inner<T>>::pin_init::<Error>(
                try_pin_init!(Inner {
                    head <- Head::new(owner, Self::WHAT, Self::KIND, space),
                    subscribed <- Subscribed::new(notifier, &Subscribed::<T>::OPS),
                }? Error),
                GFP_KERNEL_ACCOUNT,
            )?;
            // SAFETY: It is pinned, and not registered. If this succeeds it stays until it was
            // removed, as the head is freed after that.
            unsafe { inner.subscribed.register(&inner.head, mm) }?;
            // SAFETY: It stays pinned: it is only moved out of by being freed.
            let inner = KBox::leak(unsafe { Pin::into_inner_unchecked(inner) });
            // INVARIANT: It was registered just now, with callbacks of `T`; the handle's reference
            // is counted from the beginning.
            Ok(Self {
                inner: NonNull::from(inner),
                _type: PhantomData,
            })
        })
    }

    #[inline]
    fn inner(&self) -> &Inner<T> {
        // SAFETY: By the type's invariants `inner` is valid, and the handle keeps a reference.
        unsafe { self.inner.as_ref() }
    }

    /// The notifier.
    pub fn notifier(&self) -> &T {
        &self.inner().subscribed.notifier
    }

    /// Whether `mm` is the address space that it is registered on. A child of its process, and a
    /// program that this executes, have others.
    pub fn is_on(&self, mm: &Mm) -> bool {
        core::ptr::eq(self.inner().head.space().mm().as_raw(), mm.as_raw())
    }

    /// Removes the notifier, and waits until it was removed and dropped.
    ///
    /// # Context
    ///
    /// Process context; sleeps, for some milliseconds at least. Must not be called in a callback of
    /// a notifier, nor with locks held that a callback takes.
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
    /// C: `mmu_notifier_unregister()` in [`mm/mmu_notifier.c`](srctree/mm/mmu_notifier.c).
    #[doc(alias = "mmu_notifier_unregister")]
    pub fn unregister(self) -> Result {
        let this = ManuallyDrop::new(self);
        // SAFETY: It was registered, by the type's invariants. The reference is ours, and is not
        // used again, as the drop is left out.
        unsafe { this.inner().head.unregister(Self::KIND) }
    }

    /// # Safety
    ///
    /// As [`Kind::remove`] says, for the head of an `Inner<T>`.
    unsafe fn remove(head: NonNull<Head>) {
        // SAFETY: By the function's contract `head` is at the beginning of an `Inner<T>`, which is
        // valid.
        let inner = unsafe { head.cast::<Inner<T>>().as_ref() };
        // SAFETY: By the function's contract it is registered, and this is no callback.
        unsafe { inner.subscribed.unregister(&inner.head) };
    }

    /// # Safety
    ///
    /// As [`Kind::free`] says, for the head of an `Inner<T>`.
    unsafe fn free(head: NonNull<Head>) {
        // SAFETY: By the function's contract nothing uses it any more; `new()` has leaked it from a
        // box.
        drop(unsafe { KBox::from_raw(head.cast::<Inner<T>>().as_ptr()) });
    }
}

impl<T: MmuNotifier> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: It was registered, by the type's invariants. The reference is ours, and is not
        // used again.
        unsafe { self.inner().head.drop_handle(Self::KIND) };
    }
}

/// Creates an initialiser that calls `make`, which may sleep, and writes its result: all
/// registrations are created by it.
///
/// # Errors
///
/// [`EDEADLK`] where the caller may not sleep; those of `make`.
pub(super) fn in_place<T>(make: impl FnOnce() -> Result<T>) -> impl Init<T, Error> {
    let write = |slot: *mut T| {
        if !may_sleep() {
            return Err(EDEADLK);
        }
        let made = make()?;
        // SAFETY: `slot` is valid for writes, by the contract of `init_from_closure`.
        unsafe { slot.write(made) };
        Ok(())
    };
    // SAFETY: `slot` is initialised if the closure succeeds, and not touched if it fails. A value
    // that `make` returns may be moved.
    unsafe { pin_init::init_from_closure(write) }
}
