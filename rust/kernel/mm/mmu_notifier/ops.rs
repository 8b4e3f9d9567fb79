// SPDX-License-Identifier: GPL-2.0

//! The `struct mmu_notifier_ops` of each combination of callbacks, and the C functions in it.

use super::{
    private::Sealed,
    without_blocking,
    Age,
    Callbacks,
    InvalidateRanges,
    InvalidateSecondaryTlbs,
    MayRefuse,
    MmuNotifier,
    Ranges,
    ReleaseOnly,
    SecondaryTlbs,
    Subscribed,
    TryInvalidateRanges,
    TryRanges,
    WithAge, //
};
use crate::{
    bindings,
    prelude::*, //
};

/// The kernel's table of callbacks.
///
/// A driver can obtain the table of a type that implements [`Callbacks`]. It cannot use it for
/// another type, because it cannot implement the trait that has the table.
#[doc(hidden)]
pub struct Ops(pub(super) bindings::mmu_notifier_ops);

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

impl<T: MmuNotifier + InvalidateRanges> Subscribed<T> {
    /// # Safety
    ///
    /// `subscription` must be that of a `Subscribed<T>`, registered, and `range` valid.
    unsafe extern "C" fn invalidate_range_start_callback(
        subscription: *mut bindings::mmu_notifier,
        range: *const bindings::mmu_notifier_range,
    ) -> c_int {
        // SAFETY: The caller guarantees that `subscription` is that of a registered, hence valid,
        // `Subscribed<T>`, and that `range` is valid.
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
        // SAFETY: The caller guarantees that `subscription` is that of a registered, hence valid,
        // `Subscribed<T>`, and that `range` is valid.
        let (this, range) = unsafe { Self::called_for(subscription, range) };
        checked(|| this.notifier.invalidate_range_end(&range));
    }
}

/// Calls `f`, which must not sleep.
///
/// The kernel's own code checks this if the range is not blockable. If it is, this function checks
/// it, on kernels with `DEBUG_ATOMIC_SLEEP` only.
#[inline(always)]
fn checked(f: impl FnOnce()) {
    if cfg!(CONFIG_DEBUG_ATOMIC_SLEEP) {
        without_blocking(f);
    } else {
        f();
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
        // SAFETY: The caller guarantees that `subscription` is that of a registered, hence valid,
        // `Subscribed<T>`, and that `mm` is valid.
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
        // SAFETY: The caller guarantees that `subscription` is that of a registered, hence valid,
        // `Subscribed<T>`, and that `mm` is valid.
        let (this, mm) = unsafe { Self::called_on(subscription, mm) };
        this.notifier.clear_flush_young(mm, start, end)
    }

    /// # Safety
    ///
    /// As for [`Self::clear_flush_young_callback`].
    unsafe extern "C" fn clear_young_callback(
        subscription: *mut bindings::mmu_notifier,
        mm: *mut bindings::mm_struct,
        start: usize,
        end: usize,
    ) -> bool {
        // SAFETY: The caller guarantees that `subscription` is that of a registered, hence valid,
        // `Subscribed<T>`, and that `mm` is valid.
        let (this, mm) = unsafe { Self::called_on(subscription, mm) };
        this.notifier.clear_young(mm, start, end)
    }

    /// # Safety
    ///
    /// As for [`Self::clear_flush_young_callback`].
    unsafe extern "C" fn test_young_callback(
        subscription: *mut bindings::mmu_notifier,
        mm: *mut bindings::mm_struct,
        address: usize,
    ) -> bool {
        // SAFETY: The caller guarantees that `subscription` is that of a registered, hence valid,
        // `Subscribed<T>`, and that `mm` is valid.
        let (this, mm) = unsafe { Self::called_on(subscription, mm) };
        this.notifier.test_young(mm, address)
    }
}
