// SPDX-License-Identifier: GPL-2.0

//! A notifier with the subscriptions by which the kernel calls it.

use super::{
    private::{
        Refuses,
        Sealed, //
    },
    without_blocking,
    MmuNotifier,
    Range,
    TryInvalidateRanges, //
};
use crate::{
    bindings,
    container_of,
    mm::{
        space::Head,
        Mm,
        MmWithUser, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    ptr, //
};

/// The subscription by which a notifier refuses, and its callbacks.
#[doc(hidden)]
pub struct Refusal {
    pub(in crate::mm) subscription: *mut bindings::mmu_interval_notifier,
    pub(in crate::mm) ops: &'static bindings::mmu_interval_notifier_ops,
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

/// A notifier, and what the kernel knows it by, at the beginning.
#[pin_data]
#[repr(C)]
pub(in crate::mm) struct Subscribed<T: MmuNotifier> {
    #[pin]
    subscription: Opaque<bindings::mmu_notifier>,
    refuses: <T::Callbacks as Sealed<T>>::Refuses,
    released: Atomic<bool>,
    #[pin]
    pub(in crate::mm) notifier: T,
}

impl<T: MmuNotifier> Subscribed<T> {
    pub(in crate::mm) const OPS: bindings::mmu_notifier_ops = bindings::mmu_notifier_ops {
        release: Some(Self::release_callback),
        ..<T::Callbacks as Sealed<T>>::OPS.0
    };

    /// One that is not registered.
    pub(in crate::mm) fn new<E>(
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
    pub(in crate::mm) fn set_released(&self) {
        self.released.store(true, Relaxed);
    }

    /// Registers it on `mm`, and attaches its head.
    ///
    /// # Errors
    ///
    /// Those of [`Registration::new`](super::Registration::new).
    ///
    /// # Safety
    ///
    /// It must not be registered, and must stay pinned and valid, as the head must, until it was
    /// removed.
    #[inline]
    pub(in crate::mm) unsafe fn register(&self, head: &Head, mm: &MmWithUser) -> Result {
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
    pub(in crate::mm) unsafe fn unregister(&self, head: &Head) {
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
    pub(super) unsafe fn called_on<'a>(
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
    pub(super) unsafe fn called_for<'a>(
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

impl<T: MmuNotifier + TryInvalidateRanges> Subscribed<T> {
    /// # Safety
    ///
    /// `subscription` must be that of a `Subscribed<T>`, registered, and `range` valid.
    pub(super) unsafe extern "C" fn try_invalidate_range_callback(
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
