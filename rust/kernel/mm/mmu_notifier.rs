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
//! * `release` runs when the address space ends, or when the registration is dropped before that:
//!   once. After it there is no page left that the notifier may use. `start` and `end` of other
//!   tasks (file truncation, say) may still be called until the registration is dropped.
//! * A child that is forked, and a program that is executed, has an address space of its own,
//!   which nobody has registered on.
//!
//! # What holds
//!
//! * Nothing is called after the registration was dropped; dropping it waits for what is running.
//!   It must not be dropped inside a callback: that would wait for itself.
//! * A registration does not keep its module loaded. If it was leaked it is ended when the module
//!   goes, before its text is freed.
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
    Mm,
    MmWithUser, //
};
use crate::{
    bindings,
    container_of,
    error::to_result,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    tether::{
        Attachment,
        Owner,
        What, //
    },
    types::Opaque, //
};
use core::{
    any::type_name,
    marker::PhantomData, //
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

    /// Who invalidates, for those who want to know their own doing
    /// ([`Event::Migrate`], [`Event::Exclusive`]): what was passed to the kernel as the owner, or null.
    /// It is only to be compared.
    #[inline]
    pub fn owner(&self) -> *const c_void {
        self.raw().owner
    }

    /// Whether the one who invalidates lets the callback sleep (`mmu_notifier_range_blockable()`).
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

/// What hears of what happens to an address space.
pub trait MmuNotifier: Sized + Send + Sync + 'static {
    /// What it hears of, besides the end of the address space.
    type Callbacks: Callbacks<Self>;

    /// The address space ends, or the registration is being dropped. Called once. May sleep.
    fn release(&self, _mm: &Mm) {}
}

/// A combination of callbacks that the kernel allows; see [`MmuNotifier::Callbacks`].
#[diagnostic::on_unimplemented(
    message = "`{T}` does not have the callbacks that `{Self}` stands for",
    label = "the trait of these callbacks is to be implemented for `{T}`"
)]
pub trait Callbacks<T>: private::Sealed {
    /// The callbacks, for the kernel.
    #[doc(hidden)]
    const OPS: Ops;
}

/// The kernel's table of callbacks.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Ops(bindings::mmu_notifier_ops);

mod private {
    pub trait Sealed {}
}

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

impl private::Sealed for ReleaseOnly {}
impl private::Sealed for Ranges {}
impl private::Sealed for TryRanges {}
impl private::Sealed for SecondaryTlbs {}
impl<C: private::Sealed> private::Sealed for WithAge<C> {}

/// Hears of ranges, and cannot object.
///
/// # Context
///
/// Both are called with locks of the memory management held, by any task that changes the address
/// space, and several times at once. They must not sleep: the range may not be blockable, as when the
/// OOM killer reaps a process. (A kernel with `DEBUG_ATOMIC_SLEEP` says so if they do.) Nor may they
/// wait for memory, also where a lock that they take is held elsewhere: `GFP_KERNEL` is reported by
/// lockdep.
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

/// Says, and forgets, which pages were used by way of page tables of one's own.
///
/// Called under spinlocks of the page tables. None of these may sleep.
pub trait Age {
    /// Whether a page from `start` to `end` was used since this was last asked; it is not used by way
    /// of old translations from then on. They are forgotten.
    fn clear_flush_young(&self, mm: &Mm, start: usize, end: usize) -> bool;

    /// As [`Age::clear_flush_young`], but old translations may go on being used.
    fn clear_young(&self, mm: &Mm, start: usize, end: usize) -> bool;

    /// Whether the page at `address` was used.
    fn test_young(&self, mm: &Mm, address: usize) -> bool;
}

impl<T: MmuNotifier> Callbacks<T> for ReleaseOnly {
    const OPS: Ops = Ops(pin_init::zeroed());
}

impl<T: MmuNotifier + InvalidateRanges> Callbacks<T> for Ranges {
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

impl<T: MmuNotifier + TryInvalidateRanges> Callbacks<T> for TryRanges {
    const OPS: Ops = Ops(bindings::mmu_notifier_ops {
        invalidate_range_start: Some(Subscribed::<T>::try_invalidate_range_callback),
        ..pin_init::zeroed()
    });
}

impl<T: MmuNotifier + InvalidateSecondaryTlbs> Callbacks<T> for SecondaryTlbs {
    const OPS: Ops = Ops(bindings::mmu_notifier_ops {
        arch_invalidate_secondary_tlbs: Some(Subscribed::<T>::invalidate_secondary_tlbs_callback),
        ..pin_init::zeroed()
    });
}

impl<T: MmuNotifier + Age, C: Callbacks<T>> Callbacks<T> for WithAge<C> {
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
pub(super) struct Subscribed<T> {
    #[pin]
    subscription: Opaque<bindings::mmu_notifier>,
    released: Atomic<bool>,
    #[pin]
    pub(super) notifier: T,
}

impl<T: MmuNotifier> Subscribed<T> {
    pub(super) const OPS: bindings::mmu_notifier_ops = bindings::mmu_notifier_ops {
        release: Some(Self::release_callback),
        ..<T::Callbacks as Callbacks<T>>::OPS.0
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
            subscription <- Opaque::ffi_init(|slot: *mut bindings::mmu_notifier| {
                // All else is written when it is registered.
                //
                // SAFETY: `slot` is valid for writes.
                unsafe { (*slot).ops = ops };
            }),
        }? Error)
    }

    /// What the kernel knows it by.
    pub(super) fn subscription(&self) -> *mut bindings::mmu_notifier {
        self.subscription.get()
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

    /// What a callback is for: the kernel calls it for a subscription that is registered, so that it is
    /// valid, and with an address space that is.
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
        // once.
        if !this.released.xchg(true, Relaxed) {
            this.notifier.release(mm);
        }
    }
}

/// An [`MmuNotifier`] that is registered on an address space.
///
/// Dropping it waits for callbacks that are running, and for an SRCU grace period: that may sleep,
/// for some milliseconds. It must be dropped outside of its callbacks, and outside of the locks that
/// they take.
///
/// # Invariants
///
/// `inner` is registered on its `mm` from the end of its initialisation until `attachment` is taken off
/// its owner's list.
#[pin_data(PinnedDrop)]
pub struct Registration<T: MmuNotifier> {
    #[pin]
    inner: Subscribed<T>,
    #[pin]
    attachment: Attachment,
}

// SAFETY: A registration may be dropped on another thread than where it was made.
unsafe impl<T: MmuNotifier> Send for Registration<T> {}
// SAFETY: A shared reference only gives the notifier, which is `Sync`.
unsafe impl<T: MmuNotifier> Sync for Registration<T> {}

impl<T: MmuNotifier> Registration<T> {
    const WHAT: &'static What = &What {
        kind: "mmu_notifier",
        name: type_name::<T>,
        request: None,
        end: Self::end,
        discard: None,
        release: None,
    };

    /// Registers `notifier` on `mm`. Sleeps; takes the `mmap_lock` of `mm` for writing. The caller must
    /// not hold it, not even for reading: this would wait for itself, as lockdep says.
    ///
    /// Callbacks may come before this has returned.
    ///
    /// # Errors
    ///
    /// * [`ENOMEM`] if there is not enough memory;
    /// * [`EINTR`] if a signal is pending;
    /// * [`ENODEV`] if the module of the notifier is going, [`EINVAL`] if it is not known to
    ///   Tether.
    ///
    /// C: `mmu_notifier_register()` in [`mm/mmu_notifier.c`](srctree/mm/mmu_notifier.c).
    #[doc(alias = "mmu_notifier_register")]
    pub fn new<'a, E>(
        mm: &'a MmWithUser,
        notifier: impl PinInit<T, E> + 'a,
    ) -> impl PinInit<Self, Error> + 'a
    where
        Error: From<E>,
        E: 'a,
    {
        pin_init::pin_init_scope(move || {
            let owner = Owner::of(Self::end as *const ())?;
            Ok::<_, Error>(
                try_pin_init!(Self {
                    inner <- Subscribed::new(notifier, &Subscribed::<T>::OPS),
                    attachment <- Attachment::new(owner, Self::WHAT),
                }? Error)
                .pin_chain(move |this| {
                    // SAFETY: Its drop detaches it first, and it is pinned.
                    unsafe { register(&this.attachment, this.inner.subscription(), mm) }
                }),
            )
        })
    }

    /// The notifier.
    pub fn notifier(&self) -> &T {
        &self.inner.notifier
    }

    /// Whether `mm` is the address space that it is registered on. A child of its process, and a
    /// program that this executes, have others.
    pub fn is_on(&self, mm: &Mm) -> bool {
        // SAFETY: The subscription is valid. Its `mm` was set before this could be borrowed.
        let own = unsafe { (*self.inner.subscription.get()).mm };
        core::ptr::eq(own, mm.as_raw())
    }

    /// # Safety
    ///
    /// As [`What::end`] says.
    unsafe fn end(attachment: *const Attachment) {
        // SAFETY: The attachment is in a registration, which is valid until it was ended.
        let this = unsafe { &*container_of!(attachment.cast_mut(), Self, attachment) };
        // SAFETY: It is registered, by the type's invariants: the owner's end has taken it off its list just
        // now. This is not called inside a callback.
        unsafe { unregister(this.inner.subscription()) };
    }
}

/// Registers a subscription on `mm`, and attaches what it is in. As what follows, it does not depend on a
/// notifier's type, so that it is not compiled for each.
///
/// # Safety
///
/// It must have its functions, not be registered, and stay valid, as the attachment must, until that was taken off
/// its owner's list and this was unregistered.
#[inline(never)]
pub(super) unsafe fn register(
    attachment: &Attachment,
    subscription: *mut bindings::mmu_notifier,
    mm: &MmWithUser,
) -> Result {
    // SAFETY: By the function's contract. The address space has users, for as long as the borrow.
    let register =
        || to_result(unsafe { bindings::mmu_notifier_register(subscription, mm.as_raw()) });
    // SAFETY: By the function's contract.
    unsafe { attachment.attach(register) }
}

/// Unregisters a subscription, and waits for what is running.
///
/// # Safety
///
/// It must be registered, and its attachment have been taken off its owner's list just now. Not inside a
/// callback, which would wait for itself.
pub(super) unsafe fn unregister(subscription: *mut bindings::mmu_notifier) {
    // SAFETY: By the function's contract; it has grabbed its `mm`.
    unsafe { bindings::mmu_notifier_unregister(subscription, (*subscription).mm) };
}

/// Likewise, unless the owner's end was earlier, or attaching it had failed.
///
/// # Safety
///
/// `subscription` and `attachment` must be those of one registration. Not inside a callback.
#[inline(never)]
unsafe fn unregister_attached(attachment: &Attachment, subscription: *mut bindings::mmu_notifier) {
    if let Some(_entered) = attachment.detach() {
        // SAFETY: It was attached, so that it is registered; it was taken off the list just now.
        unsafe { unregister(subscription) };
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

/// Calls what must not sleep. The core checks that where the range is not blockable; where it is, only
/// kernels that look for such things do.
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
        // That this does not sleep is checked by the core.
        match this.notifier.try_invalidate_range(&range) {
            Ok(()) => 0,
            Err(WouldSleep) => EAGAIN.to_errno(),
        }
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

#[pinned_drop]
impl<T: MmuNotifier> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Both are this registration's. This is not called inside a callback, as the type's
        // documentation asks, which would hang.
        unsafe { unregister_attached(&self.attachment, self.inner.subscription()) };
    }
}
