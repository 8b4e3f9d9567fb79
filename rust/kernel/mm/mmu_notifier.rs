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
    container_of,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    tether::{
        may_sleep,
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

/// Why a range is invalidated.
///
/// C: `enum mmu_notifier_event` in
/// [`include/linux/mmu_notifier.h`](srctree/include/linux/mmu_notifier.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It is unmapped, by `munmap()`, or moved, by `mremap()`.
    Unmap,
    /// Page table entries are cleared, for many reasons: `madvise()`, reclaim, replacing a page.
    Clear,
    /// The protection of the mapping changes, by `mprotect()`.
    ProtectionVma,
    /// The protection of single pages changes: look at the page tables afterwards.
    ProtectionPage,
    /// Soft-dirty tracking: the pages stay.
    SoftDirty,
    /// The address space ends (interval notifiers only).
    Release,
    /// Pages are collected for migration to or from a device.
    Migrate,
    /// Pages become exclusive to a device.
    Exclusive,
    /// One that this version does not know; treat it as [`Event::Clear`].
    Other(u32),
}

impl Event {
    fn from_raw(event: bindings::mmu_notifier_event) -> Self {
        match event {
            bindings::mmu_notifier_event_MMU_NOTIFY_UNMAP => Event::Unmap,
            bindings::mmu_notifier_event_MMU_NOTIFY_CLEAR => Event::Clear,
            bindings::mmu_notifier_event_MMU_NOTIFY_PROTECTION_VMA => Event::ProtectionVma,
            bindings::mmu_notifier_event_MMU_NOTIFY_PROTECTION_PAGE => Event::ProtectionPage,
            bindings::mmu_notifier_event_MMU_NOTIFY_SOFT_DIRTY => Event::SoftDirty,
            bindings::mmu_notifier_event_MMU_NOTIFY_RELEASE => Event::Release,
            bindings::mmu_notifier_event_MMU_NOTIFY_MIGRATE => Event::Migrate,
            bindings::mmu_notifier_event_MMU_NOTIFY_EXCLUSIVE => Event::Exclusive,
            other => Event::Other(other),
        }
    }
}

/// A range that is invalidated.
///
/// # Invariants
///
/// `range` is valid for `'a`.
pub struct Range<'a> {
    range: *const bindings::mmu_notifier_range,
    _range: PhantomData<&'a bindings::mmu_notifier_range>,
}

impl<'a> Range<'a> {
    /// # Safety
    ///
    /// `range` must be valid for `'a`.
    pub(super) unsafe fn from_raw(range: *const bindings::mmu_notifier_range) -> Self {
        // INVARIANT: By the function's contract.
        Self {
            range,
            _range: PhantomData,
        }
    }

    fn raw(&self) -> &'a bindings::mmu_notifier_range {
        // SAFETY: By the type's invariants.
        unsafe { &*self.range }
    }

    /// The first address.
    #[inline]
    pub fn start(&self) -> usize {
        self.raw().start
    }

    /// The address after the last one.
    #[inline]
    pub fn end(&self) -> usize {
        self.raw().end
    }

    /// Why.
    #[inline]
    pub fn event(&self) -> Event {
        Event::from_raw(self.raw().event)
    }

    /// Who invalidates, for those who want to know their own doing ([`Event::Migrate`],
    /// [`Event::Exclusive`]): what was passed to the kernel as the owner, or null. It is only to be
    /// compared.
    #[inline]
    pub fn owner(&self) -> *const c_void {
        self.raw().owner
    }

    /// Whether the callback may sleep (`mmu_notifier_range_blockable()`).
    #[inline]
    pub fn is_blockable(&self) -> bool {
        self.raw().flags & bindings::MMU_NOTIFIER_RANGE_BLOCKABLE != 0
    }

    /// The address space.
    #[inline]
    pub fn mm(&self) -> &'a Mm {
        // SAFETY: The range is of a valid address space, for as long as the range is valid.
        unsafe { Mm::from_raw(self.raw().mm) }
    }
}

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

/// The kernel's table of callbacks. It cannot be copied, and no constant of this type can be named
/// outside of this module.
#[doc(hidden)]
pub struct Ops(bindings::mmu_notifier_ops);

/// The subscription by which a notifier refuses, and its callbacks.
#[doc(hidden)]
pub struct Refusal {
    pub(super) subscription: *mut bindings::mmu_interval_notifier,
    pub(super) ops: &'static bindings::mmu_interval_notifier_ops,
}

/// The subscription of a notifier that may refuse.
///
/// The kernel asks interval notifiers first. If one of them refuses, the kernel ends the
/// invalidation for all of them. If a notifier of the whole address space refuses, the kernel does
/// not (`__mmu_notifier_invalidate_range_start()` of 7.3), and removing an interval notifier of
/// this address space, of any driver, does not return after that. Hence a notifier that may refuse
/// is asked as an interval notifier of all addresses.
#[doc(hidden)]
#[repr(transparent)]
pub struct MayRefuse<T>(Opaque<bindings::mmu_interval_notifier>, PhantomData<*mut T>);

mod private {
    use super::{
        MayRefuse,
        MmuNotifier,
        Opaque,
        Ops,
        PhantomData,
        Refusal,
        Subscribed,
        TryInvalidateRanges, //
    };

    /// Implemented for the pairs of a combination and a notifier that has its traits.
    ///
    /// With the parameter, as another crate may implement a foreign trait for a foreign type if a
    /// parameter of the trait is its own.
    pub trait Sealed<T> {
        /// The callbacks, for the kernel.
        const OPS: Ops;

        /// [`MayRefuse`] if the notifier may refuse, else nothing.
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

    impl<T> Default for MayRefuse<T> {
        fn default() -> Self {
            // All of it is written when it is inserted.
            Self(Opaque::uninit(), PhantomData)
        }
    }

    impl<T: MmuNotifier + TryInvalidateRanges> Refuses for MayRefuse<T> {
        fn refusal(&self) -> Option<Refusal> {
            Some(Refusal {
                subscription: self.0.get(),
                ops: Subscribed::<T>::REFUSAL_OPS,
            })
        }
    }
}
use private::{
    Refuses,
    Sealed, //
};

/// Nothing but [`MmuNotifier::release`].
pub struct ReleaseOnly;
/// [`InvalidateRanges`].
pub struct Ranges;
/// [`TryInvalidateRanges`].
pub struct TryRanges;
/// [`InvalidateSecondaryTlbs`].
pub struct SecondaryTlbs;
/// [`Age`], and what `C` stands for.
pub struct WithAge<C>(PhantomData<C>);

/// Hears of ranges, and cannot object.
///
/// # Context
///
/// Both are called with locks of the memory management held, by any task that changes the address
/// space, and several times at once. They must not sleep: the range may not be blockable, as when
/// the OOM killer reaps a process. (A kernel with `DEBUG_ATOMIC_SLEEP` says so if they do.) Nor may
/// they wait for memory, also where a lock that they take is held elsewhere: `GFP_KERNEL` is
/// reported by lockdep.
#[vtable]
pub trait InvalidateRanges {
    /// Pages in `range` are about to change. Must not sleep.
    fn invalidate_range_start(&self, _range: &Range<'_>) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Pages in `range` have changed. Must not sleep. Called once for each
    /// [`InvalidateRanges::invalidate_range_start`] on which this was registered already.
    fn invalidate_range_end(&self, _range: &Range<'_>) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }
}

/// A callback that must not sleep would have to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WouldSleep;

/// Hears of ranges before they change, and may ask for a retry where it must not sleep. It does not
/// hear of the end.
///
/// # Context
///
/// As [`InvalidateRanges`], but for what each says of sleeping.
pub trait TryInvalidateRanges {
    /// Pages in `range`, which is blockable, are about to change. May sleep.
    fn invalidate_range(&self, range: &Range<'_>);

    /// Pages in `range`, which is not blockable, are about to change. Must not sleep.
    ///
    /// # Errors
    ///
    /// [`WouldSleep`]: the caller in the kernel does without this range for now, or tries again
    /// (`-EAGAIN`).
    fn try_invalidate_range(&self, range: &Range<'_>) -> core::result::Result<(), WouldSleep>;
}

/// Keeps a TLB of a device that uses the CPU's page tables.
pub trait InvalidateSecondaryTlbs {
    /// Translations from `start` to `end` are to be forgotten.
    ///
    /// Called under a spinlock of the page tables, several times at once. Must not sleep.
    fn invalidate_secondary_tlbs(&self, mm: &Mm, start: usize, end: usize);
}

/// Reports and clears the accessed bits of secondary page tables.
///
/// Called under spinlocks of the page tables. None of these may sleep.
pub trait Age {
    /// Whether a page from `start` to `end` was used since this was last asked; it is not used by
    /// way of old translations from then on. They are forgotten.
    fn clear_flush_young(&self, mm: &Mm, start: usize, end: usize) -> bool;

    /// As [`Age::clear_flush_young`], but old translations may go on being used.
    fn clear_young(&self, mm: &Mm, start: usize, end: usize) -> bool;

    /// Whether the page at `address` was used.
    fn test_young(&self, mm: &Mm, address: usize) -> bool;
}

impl<T: MmuNotifier> Callbacks<T> for ReleaseOnly {}
impl<T: MmuNotifier> Sealed<T> for ReleaseOnly {
    type Refuses = ();

    const OPS: Ops = Ops(pin_init::zeroed());
}

impl<T: MmuNotifier + InvalidateRanges> Callbacks<T> for Ranges {}
impl<T: MmuNotifier + InvalidateRanges> Sealed<T> for Ranges {
    type Refuses = ();

    const OPS: Ops = Ops(bindings::mmu_notifier_ops {
        invalidate_range_start: if T::HAS_INVALIDATE_RANGE_START {
            Some(Subscribed::<T>::invalidate_range_start_callback)
        } else {
            None
        },
        invalidate_range_end: if T::HAS_INVALIDATE_RANGE_END {
            Some(Subscribed::<T>::invalidate_range_end_callback)
        } else {
            None
        },
        ..pin_init::zeroed()
    });
}

impl<T: MmuNotifier + TryInvalidateRanges> Callbacks<T> for TryRanges {}
impl<T: MmuNotifier + TryInvalidateRanges> Sealed<T> for TryRanges {
    type Refuses = MayRefuse<T>;

    const OPS: Ops = Ops(bindings::mmu_notifier_ops {
        invalidate_range_start: Some(Subscribed::<T>::try_invalidate_range_callback),
        ..pin_init::zeroed()
    });
}

impl<T: MmuNotifier + InvalidateSecondaryTlbs> Callbacks<T> for SecondaryTlbs {}
impl<T: MmuNotifier + InvalidateSecondaryTlbs> Sealed<T> for SecondaryTlbs {
    type Refuses = ();

    const OPS: Ops = Ops(bindings::mmu_notifier_ops {
        arch_invalidate_secondary_tlbs: Some(Subscribed::<T>::invalidate_secondary_tlbs_callback),
        ..pin_init::zeroed()
    });
}

impl<T: MmuNotifier + Age, C: Callbacks<T>> Callbacks<T> for WithAge<C> {}
impl<T: MmuNotifier + Age, C: Callbacks<T>> Sealed<T> for WithAge<C> {
    type Refuses = C::Refuses;

    const OPS: Ops = Ops(bindings::mmu_notifier_ops {
        clear_flush_young: Some(Subscribed::<T>::clear_flush_young_callback),
        clear_young: Some(Subscribed::<T>::clear_young_callback),
        test_young: Some(Subscribed::<T>::test_young_callback),
        ..C::OPS.0
    });
}

/// A notifier, and what the kernel knows it by, at the beginning.
#[pin_data]
#[repr(C)]
pub(super) struct Subscribed<T: MmuNotifier> {
    #[pin]
    subscription: Opaque<bindings::mmu_notifier>,
    refuses: <T::Callbacks as Sealed<T>>::Refuses,
    released: Atomic<bool>,
    #[pin]
    pub(super) notifier: T,
}

impl<T: MmuNotifier> Subscribed<T> {
    pub(super) const OPS: bindings::mmu_notifier_ops = bindings::mmu_notifier_ops {
        release: Some(Self::release_callback),
        ..<T::Callbacks as Sealed<T>>::OPS.0
    };

    /// One that is not registered.
    pub(super) fn new<E>(
        notifier: impl PinInit<T, E>,
        ops: &'static bindings::mmu_notifier_ops,
    ) -> impl PinInit<Self, Error>
    where
        Error: From<E>,
    {
        try_pin_init!(Self {
            notifier <- notifier,
            released: Atomic::new(false),
            refuses: Default::default(),
            subscription <- Opaque::ffi_init(|slot: *mut bindings::mmu_notifier| {
                // All else is written when it is registered.
                //
                // SAFETY: `slot` is valid for writes.
                unsafe { (*slot).ops = ops };
            }),
        }? Error)
    }

    /// Leaves [`MmuNotifier::release`] out, if it was not called yet.
    pub(super) fn set_released(&self) {
        self.released.store(true, Relaxed);
    }

    /// Registers it on `mm`, and attaches its head.
    ///
    /// # Errors
    ///
    /// Those of [`Registration::new`].
    ///
    /// # Safety
    ///
    /// It must not be registered, and must stay pinned and valid, as the head must, until it was
    /// removed.
    #[inline]
    pub(super) unsafe fn register(&self, head: &Head, mm: &MmWithUser) -> Result {
        // SAFETY: Both subscriptions have their functions, as `new()` has made them. The rest is
        // the function's contract.
        unsafe { register(head, self.subscription.get(), self.refuses.refusal(), mm) }
    }

    /// Unregisters it, and waits for running callbacks.
    ///
    /// # Safety
    ///
    /// It must be registered, with `head`, and not be unregistered by others. Not inside a
    /// callback, which would wait for itself.
    pub(super) unsafe fn unregister(&self, head: &Head) {
        // SAFETY: The requirements are those of this function.
        unsafe { unregister(head, self.subscription.get(), self.refuses.refusal()) };
    }

    /// The subscription that the kernel knows.
    ///
    /// # Safety
    ///
    /// `subscription` must be that of a valid `Subscribed<T>`.
    unsafe fn from_subscription<'a>(subscription: *mut bindings::mmu_notifier) -> &'a Self {
        let subscription = Opaque::cast_from(subscription).cast_mut();
        // SAFETY: By the function's contract.
        unsafe { &*container_of!(subscription, Self, subscription) }
    }

    /// What a callback is for: the kernel calls it for a subscription that is registered, so that
    /// it is valid, and with an address space that is.
    ///
    /// # Safety
    ///
    /// `subscription` must be that of a `Subscribed<T>`, and both be valid for `'a`.
    unsafe fn called_on<'a>(
        subscription: *mut bindings::mmu_notifier,
        mm: *mut bindings::mm_struct,
    ) -> (&'a Self, &'a Mm) {
        // SAFETY: By the function's contract.
        unsafe { (Self::from_subscription(subscription), Mm::from_raw(mm)) }
    }

    /// Likewise, with a range.
    ///
    /// # Safety
    ///
    /// As [`Self::called_on`].
    unsafe fn called_for<'a>(
        subscription: *mut bindings::mmu_notifier,
        range: *const bindings::mmu_notifier_range,
    ) -> (&'a Self, Range<'a>) {
        // SAFETY: By the function's contract.
        unsafe {
            (
                Self::from_subscription(subscription),
                Range::from_raw(range),
            )
        }
    }

    /// # Safety
    ///
    /// `subscription` must be that of a `Subscribed<T>`, registered, and `mm` valid.
    unsafe extern "C" fn release_callback(
        subscription: *mut bindings::mmu_notifier,
        mm: *mut bindings::mm_struct,
    ) {
        // SAFETY: By the function's contract.
        let (this, mm) = unsafe { Self::called_on(subscription, mm) };
        // The end of the address space and that of the registration may both come here, even at
        // once. The kernel waits for both.
        if !this.released.xchg(true, Relaxed) {
            this.notifier.release(mm);
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

/// The part of [`Subscribed::register`] that does not depend on the type, and so is compiled once.
///
/// # Safety
///
/// As [`Subscribed::register`] says, for both subscriptions, which must have their functions.
#[inline(never)]
unsafe fn register(
    head: &Head,
    subscription: *mut bindings::mmu_notifier,
    refusal: Option<Refusal>,
    mm: &MmWithUser,
) -> Result {
    // SAFETY: By the function's contract the subscriptions may be registered.
    let register = || unsafe { head.space().register(mm, subscription, refusal) };
    // SAFETY: By the function's contract the head, and with it the attachment, stays valid until it
    // was removed, which is after it was detached, or released.
    unsafe { head.attachment().attach(register) }
}

/// The part of [`Subscribed::unregister`] that does not depend on the type.
///
/// # Safety
///
/// As [`Subscribed::unregister`] says, for both subscriptions.
unsafe fn unregister(
    head: &Head,
    subscription: *mut bindings::mmu_notifier,
    refusal: Option<Refusal>,
) {
    head.set_ended();
    // The notifier may refuse until it was released, which this does.
    //
    // SAFETY: By the function's contract it is registered, on the address space of the head, which
    // keeps that.
    unsafe { bindings::mmu_notifier_unregister(subscription, head.space().mm().as_raw()) };
    if let Some(refusal) = refusal {
        // SAFETY: It was inserted when the other one was registered, and this is no callback.
        unsafe { bindings::mmu_interval_notifier_remove(refusal.subscription) };
    }
}

impl<T: MmuNotifier + InvalidateRanges> Subscribed<T> {
    /// # Safety
    ///
    /// `subscription` must be that of a `Subscribed<T>`, registered, and `range` valid.
    unsafe extern "C" fn invalidate_range_start_callback(
        subscription: *mut bindings::mmu_notifier,
        range: *const bindings::mmu_notifier_range,
    ) -> c_int {
        // SAFETY: By the function's contract.
        let (this, range) = unsafe { Self::called_for(subscription, range) };
        checked(|| this.notifier.invalidate_range_start(&range));
        0
    }

    /// # Safety
    ///
    /// `subscription` must be that of a `Subscribed<T>`, registered, and `range` valid.
    unsafe extern "C" fn invalidate_range_end_callback(
        subscription: *mut bindings::mmu_notifier,
        range: *const bindings::mmu_notifier_range,
    ) {
        // SAFETY: By the function's contract.
        let (this, range) = unsafe { Self::called_for(subscription, range) };
        checked(|| this.notifier.invalidate_range_end(&range));
    }
}

/// Calls what must not sleep. The core checks that where the range is not blockable; where it is,
/// only kernels that look for such things do.
#[inline(always)]
fn checked(f: impl FnOnce()) {
    if cfg!(CONFIG_DEBUG_ATOMIC_SLEEP) {
        without_blocking(f);
    } else {
        f();
    }
}

impl<T: MmuNotifier + TryInvalidateRanges> Subscribed<T> {
    /// # Safety
    ///
    /// `subscription` must be that of a `Subscribed<T>`, registered, and `range` valid.
    unsafe extern "C" fn try_invalidate_range_callback(
        subscription: *mut bindings::mmu_notifier,
        range: *const bindings::mmu_notifier_range,
    ) -> c_int {
        // SAFETY: By the function's contract.
        let (this, range) = unsafe { Self::called_for(subscription, range) };
        if range.is_blockable() {
            this.notifier.invalidate_range(&range);
            return 0;
        }
        // It was asked by `may_refuse_callback()`, unless the kernel has put its insertion off
        // because of an invalidation that does not end.
        let asked = this.refuses.refusal().is_none_or(|refusal| {
            // SAFETY: The subscription was inserted before this one was registered.
            // `RB_EMPTY_NODE()` is true of a node that is not in the tree.
            unsafe {
                let node = &raw const (*refusal.subscription).interval_tree.rb;
                ptr::read_volatile(&raw const (*node).__rb_parent_color) != node as c_ulong
            }
        });
        if asked {
            0
        } else {
            EAGAIN.to_errno()
        }
    }

    const REFUSAL_OPS: &'static bindings::mmu_interval_notifier_ops =
        &bindings::mmu_interval_notifier_ops {
            invalidate: Some(Self::may_refuse_callback),
            ..pin_init::zeroed()
        };

    /// Nothing reads under this subscription, so that its sequence need not be set.
    ///
    /// # Safety
    ///
    /// `subscription` must be that of the `refuses` of a `Subscribed<T>`, inserted, and `range`
    /// valid.
    unsafe extern "C" fn may_refuse_callback(
        subscription: *mut bindings::mmu_interval_notifier,
        range: *const bindings::mmu_notifier_range,
        _sequence: usize,
    ) -> bool {
        // SAFETY: By the function's contract the range is valid while this runs.
        let range = unsafe { Range::from_raw(range) };
        if range.is_blockable() {
            return true;
        }
        let field = subscription.cast::<<T::Callbacks as Sealed<T>>::Refuses>();
        // SAFETY: By the function's contract. `MayRefuse` is transparent, so that the subscription
        // is where the field is.
        let this = unsafe { &*container_of!(field, Self, refuses) };
        without_blocking(|| this.notifier.try_invalidate_range(&range)).is_ok()
    }
}

impl<T: MmuNotifier + InvalidateSecondaryTlbs> Subscribed<T> {
    /// # Safety
    ///
    /// `subscription` must be that of a `Subscribed<T>`, registered, and `mm` valid.
    unsafe extern "C" fn invalidate_secondary_tlbs_callback(
        subscription: *mut bindings::mmu_notifier,
        mm: *mut bindings::mm_struct,
        start: usize,
        end: usize,
    ) {
        // SAFETY: By the function's contract.
        let (this, mm) = unsafe { Self::called_on(subscription, mm) };
        this.notifier.invalidate_secondary_tlbs(mm, start, end);
    }
}

impl<T: MmuNotifier + Age> Subscribed<T> {
    /// # Safety
    ///
    /// `subscription` must be that of a `Subscribed<T>`, registered, and `mm` valid.
    unsafe extern "C" fn clear_flush_young_callback(
        subscription: *mut bindings::mmu_notifier,
        mm: *mut bindings::mm_struct,
        start: usize,
        end: usize,
    ) -> bool {
        // SAFETY: By the function's contract.
        let (this, mm) = unsafe { Self::called_on(subscription, mm) };
        this.notifier.clear_flush_young(mm, start, end)
    }

    /// # Safety
    ///
    /// As [`Self::clear_flush_young_callback`].
    unsafe extern "C" fn clear_young_callback(
        subscription: *mut bindings::mmu_notifier,
        mm: *mut bindings::mm_struct,
        start: usize,
        end: usize,
    ) -> bool {
        // SAFETY: By the function's contract.
        let (this, mm) = unsafe { Self::called_on(subscription, mm) };
        this.notifier.clear_young(mm, start, end)
    }

    /// # Safety
    ///
    /// As [`Self::clear_flush_young_callback`].
    unsafe extern "C" fn test_young_callback(
        subscription: *mut bindings::mmu_notifier,
        mm: *mut bindings::mm_struct,
        address: usize,
    ) -> bool {
        // SAFETY: By the function's contract.
        let (this, mm) = unsafe { Self::called_on(subscription, mm) };
        this.notifier.test_young(mm, address)
    }
}
