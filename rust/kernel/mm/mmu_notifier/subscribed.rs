// SPDX-License-Identifier: GPL-2.0

//! [`Subscribed`]: an [`MmuNotifier`] with its `struct mmu_notifier` and, if it may refuse
//! invalidations, a `struct mmu_interval_notifier`.

use super::{
    private::{
        Refuses,
        Sealed, //
    },
    without_blocking,
    MmuNotifier,
    MmuNotifierRange,
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

/// The interval notifier by which a notifier refuses invalidations, and its callbacks.
#[doc(hidden)]
pub struct Refusal {
    pub(in crate::mm) subscription: *mut bindings::mmu_interval_notifier,
    pub(in crate::mm) ops: &'static bindings::mmu_interval_notifier_ops,
}

/// The subscription of a notifier that may refuse.
///
/// The kernel calls interval notifiers first. Non-blockable ranges: if an interval notifier returns
/// false, the kernel ends the range for all of them. If a notifier of the whole mm returns
/// `-EAGAIN`, it does not (`__mmu_notifier_invalidate_range_start()` of 7.3), and
/// `mmu_interval_notifier_remove()` hangs, for any driver on this mm. Hence a notifier that may
/// refuse is registered as an interval notifier of all addresses.
#[doc(hidden)]
#[repr(transparent)]
pub struct MayRefuse<T>(Opaque<bindings::mmu_interval_notifier>, PhantomData<*mut T>);

impl<T> Default for MayRefuse<T> {
    fn default() -> Self {
        // `mmu_interval_notifier_insert_locked()` initialises the subscription.
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

/// A notifier with its subscriptions, by which the kernel finds it.
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

    /// Creates a notifier that is not registered.
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
                // `__mmu_notifier_register()` writes the other fields.
                //
                // SAFETY: `ffi_init()` guarantees that `slot` is valid for writes.
                unsafe { (*slot).ops = ops };
            }),
        }? Error)
    }

    /// Prevents a call of [`MmuNotifier::release`], if it was not called yet.
    pub(in crate::mm) fn set_released(&self) {
        self.released.store(true, Relaxed);
    }

    /// Registers the notifier on `mm`, and attaches its head.
    ///
    /// # Errors
    ///
    /// Those of [`Registration::new`](super::Registration::new).
    ///
    /// # Safety
    ///
    /// The notifier must not be registered. It and the head must stay pinned and valid until the
    /// notifier was removed.
    #[inline]
    pub(in crate::mm) unsafe fn register(&self, head: &Head, mm: &MmWithUser) -> Result {
        // SAFETY: `new()` has set the functions of the subscription, and `refusal()` returns those
        // of the other one. The caller guarantees that the notifier is not registered, and that it
        // and the head stay pinned and valid until the notifier was removed.
        unsafe { register(head, self.subscription.get(), self.refuses.refusal(), mm) }
    }

    /// Unregisters the notifier, and waits for running callbacks.
    ///
    /// # Safety
    ///
    /// The notifier must be registered, with `head`, and no other task may unregister it. Must not
    /// be called in a callback, which would wait for itself.
    pub(in crate::mm) unsafe fn unregister(&self, head: &Head) {
        // SAFETY: The requirements are those of this function.
        unsafe { unregister(head, self.subscription.get(), self.refuses.refusal()) };
    }

    /// Returns the notifier that a subscription belongs to.
    ///
    /// # Safety
    ///
    /// `subscription` must be that of a `Subscribed<T>`, which must be valid for `'a`.
    unsafe fn from_subscription<'a>(subscription: *mut bindings::mmu_notifier) -> &'a Self {
        let subscription = Opaque::cast_from(subscription).cast_mut();
        // SAFETY: The caller guarantees that the subscription is a field of a `Subscribed<T>` that
        // is valid for `'a`.
        unsafe { &*container_of!(subscription, Self, subscription) }
    }

    /// Returns the notifier and the address space that the kernel calls a callback with.
    ///
    /// # Safety
    ///
    /// `subscription` must be that of a `Subscribed<T>`. Both the notifier and `mm` must be valid
    /// for `'a`.
    pub(super) unsafe fn called_on<'a>(
        subscription: *mut bindings::mmu_notifier,
        mm: *mut bindings::mm_struct,
    ) -> (&'a Self, &'a Mm) {
        // SAFETY: The caller guarantees that `subscription` is that of a `Subscribed<T>`, and that
        // both it and `mm` are valid for `'a`.
        unsafe { (Self::from_subscription(subscription), Mm::from_raw(mm)) }
    }

    /// Returns the notifier and the range that the kernel calls a callback with.
    ///
    /// # Safety
    ///
    /// `subscription` must be that of a `Subscribed<T>`. Both the notifier and `range` must be
    /// valid for `'a`.
    pub(super) unsafe fn called_for<'a>(
        subscription: *mut bindings::mmu_notifier,
        range: *const bindings::mmu_notifier_range,
    ) -> (&'a Self, MmuNotifierRange<'a>) {
        // SAFETY: The caller guarantees that `subscription` is that of a `Subscribed<T>`, and that
        // both it and `range` are valid for `'a`.
        unsafe {
            (
                Self::from_subscription(subscription),
                MmuNotifierRange::from_raw(range),
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
        // SAFETY: The caller guarantees that `subscription` is that of a registered, hence valid,
        // `Subscribed<T>`, and that `mm` is valid.
        let (this, mm) = unsafe { Self::called_on(subscription, mm) };
        // The end of the address space and the removal of the registration both call this function,
        // possibly at the same time. Only the first call reaches the notifier. The kernel waits for
        // both calls before the removal returns.
        if !this.released.xchg(true, Relaxed) {
            this.notifier.release(mm);
        }
    }
}

/// Non-generic part of [`Subscribed::register`], so that it is not monomorphised for each type.
///
/// # Safety
///
/// As for [`Subscribed::register`], for both subscriptions. Their functions must be set.
#[inline(never)]
unsafe fn register(
    head: &Head,
    subscription: *mut bindings::mmu_notifier,
    refusal: Option<Refusal>,
    mm: &MmWithUser,
) -> Result {
    // SAFETY: The caller guarantees that the functions of both subscriptions are set, that they are
    // not registered, and that they stay valid until they were removed.
    let register = || unsafe { head.space().register(mm, subscription, refusal) };
    // SAFETY: The caller guarantees that the head, and with it the attachment, stays valid and
    // pinned until the notifier was removed. Either the attachment is detached before that, or the
    // teardown of the owner removes the notifier; then the reference of the owner's list keeps the
    // head valid until the attachment is released.
    unsafe { head.attachment().attach(register) }
}

/// Non-generic part of [`Subscribed::unregister`].
///
/// # Safety
///
/// As for [`Subscribed::unregister`], for both subscriptions.
unsafe fn unregister(
    head: &Head,
    subscription: *mut bindings::mmu_notifier,
    refusal: Option<Refusal>,
) {
    head.set_ended();
    // The interval notifier is removed second, because the notifier may refuse until
    // `mmu_notifier_unregister()` has called `release`.
    //
    // SAFETY: The caller guarantees that the subscription is registered, on the address space of
    // the head. The head keeps the `mm_struct`.
    unsafe { bindings::mmu_notifier_unregister(subscription, head.space().mm().as_raw()) };
    if let Some(refusal) = refusal {
        // SAFETY: The interval notifier was inserted when the notifier was registered, and the
        // caller guarantees that this is not called in a callback.
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
        // SAFETY: The caller guarantees that `subscription` is that of a registered, hence valid,
        // `Subscribed<T>`, and that `range` is valid.
        let (this, range) = unsafe { Self::called_for(subscription, range) };
        if range.is_blockable() {
            this.notifier.invalidate_range(&range);
            return 0;
        }
        // `may_refuse_callback()` was called for this range, and has not refused it, unless the
        // kernel has deferred the insertion of the interval notifier to the end of a concurrent
        // invalidation.
        let asked = this.refuses.refusal().is_none_or(|refusal| {
            // `RB_EMPTY_NODE()` is true for a node that is not in the tree.
            //
            // SAFETY: The interval notifier is valid, as it was passed to the kernel before the
            // notifier was registered, and is removed after that was unregistered. The kernel may
            // insert the node at the same time, so the field is read by a volatile access.
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

    /// Returns whether the notifier refuses `range`.
    ///
    /// The sequence is not set, because no reader uses this subscription.
    ///
    /// # Safety
    ///
    /// `subscription` must be that of the field `refuses` of a `Subscribed<T>`, and be inserted.
    /// `range` must be valid.
    unsafe extern "C" fn may_refuse_callback(
        subscription: *mut bindings::mmu_interval_notifier,
        range: *const bindings::mmu_notifier_range,
        _sequence: usize,
    ) -> bool {
        // SAFETY: The caller guarantees that the range is valid during this call.
        let range = unsafe { MmuNotifierRange::from_raw(range) };
        if range.is_blockable() {
            return true;
        }
        let field = subscription.cast::<<T::Callbacks as Sealed<T>>::Refuses>();
        // SAFETY: The caller guarantees that the subscription is that of the field `refuses` of a
        // `Subscribed<T>`, which is valid while the subscription is inserted. `MayRefuse` is
        // transparent, so the field has the address of the subscription.
        let this = unsafe { &*container_of!(field, Self, refuses) };
        without_blocking(|| this.notifier.try_invalidate_range(&range)).is_ok()
    }
}
