// SPDX-License-Identifier: GPL-2.0

//! Invalidation in one pass or in two: the traits, the `struct mmu_interval_notifier_ops` for each,
//! and the C functions in it.

use super::{
    private::Sealed,
    Inner,
    MmuIntervalNotifier,
    Passes,
    Shadow,
    Slot, //
};
use crate::{
    bindings,
    container_of,
    mm::mmu_notifier::MmuNotifierRange,
    types::Opaque, //
};

/// Invalidation in one pass.
pub trait Invalidate: MmuIntervalNotifier {
    /// Stops the use of pages in `range`, and removes them from `shadow`, before it returns.
    ///
    /// `range` is blockable, and may be larger than the registered range.
    ///
    /// # Context
    ///
    /// Any task that changes the address space calls this function, with the lock of the shadow
    /// held. May sleep, but must not wait for memory.
    fn invalidate(&self, range: &MmuNotifierRange<'_>, shadow: &mut Self::Shadow);
}

/// Invalidation in two passes.
///
/// The first pass starts an operation for all notifiers, and the second pass waits for all of these
/// operations, so that they run at the same time.
pub trait InvalidateInTwoPasses: MmuIntervalNotifier {
    /// The operation that the first pass has begun.
    type Begun: Send;

    /// Removes pages in `range` from `shadow`, and starts an operation that makes the device stop
    /// using them.
    ///
    /// Returns `None` if there is nothing to wait for; then there is no second pass.
    ///
    /// # Context
    ///
    /// As for [`Invalidate::invalidate`].
    fn begin(&self, range: &MmuNotifierRange<'_>, shadow: &mut Self::Shadow)
        -> Option<Self::Begun>;

    /// Waits for the operation that [`InvalidateInTwoPasses::begin`] has started.
    ///
    /// The device must not use the pages any more when this function has returned. It is called
    /// once for each call of [`InvalidateInTwoPasses::begin`] that has returned an operation, by
    /// the same task. Other invalidations of the range may take place between the two calls. If
    /// such an invalidation has started already, this function is called directly after the first
    /// pass. The shadow is not locked, and may be locked here.
    ///
    /// # Context
    ///
    /// Process context. May sleep, but must not wait for memory, and must not look pages up in the
    /// same address space ([`Registration::read`](super::Registration::read),
    /// [`Registration::fault`](super::Registration::fault)): the invalidation
    /// that waits for this is still in progress, so that the look-up would wait for it.
    fn finish(&self, begun: Self::Begun, shadow: &Shadow<Self::Shadow>);
}

/// One pass, by [`Invalidate`].
pub struct OnePass;
/// Two passes, by [`InvalidateInTwoPasses`].
pub struct TwoPasses;

impl<T: Invalidate> Passes<T> for OnePass {}
impl<T: Invalidate> Sealed<T> for OnePass {
    type Slot = ();
    type Begun = ();

    const OPS: bindings::mmu_interval_notifier_ops = bindings::mmu_interval_notifier_ops {
        invalidate: Some(Inner::<T>::invalidate_callback),
        ..pin_init::zeroed()
    };

    fn begin(notifier: &T, range: &MmuNotifierRange<'_>, shadow: &mut T::Shadow) -> Option<()> {
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

    fn begin(
        notifier: &T,
        range: &MmuNotifierRange<'_>,
        shadow: &mut T::Shadow,
    ) -> Option<T::Begun> {
        notifier.begin(range, shadow)
    }

    fn finish(notifier: &T, begun: T::Begun, shadow: &Shadow<T::Shadow>) {
        notifier.finish(begun, shadow);
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
        // SAFETY: The caller guarantees that `subscription` is that of an inserted, hence valid,
        // `Inner<T>`, and that `range` is valid.
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
        // SAFETY: The caller guarantees that `subscription` is that of an inserted, hence valid,
        // `Inner<T>`, and that `range` is valid.
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
            // SAFETY: The caller guarantees that `finish` is valid for writes. The slot stays valid
            // until the kernel calls the second pass: it does so before the invalidation ends, and
            // the removal of the registration waits for the invalidation.
            Ok(linked) => unsafe { *finish = linked },
            Err(begun) => this.notifier.finish(begun, &this.shadow),
        }
        true
    }

    /// # Safety
    ///
    /// [`Self::invalidate_start_callback`] must have stored `finish`, which is that of the slot of
    /// an `Inner<T>`. The kernel must not use `finish` after this call.
    unsafe extern "C" fn invalidate_finish_callback(
        finish: *mut bindings::mmu_interval_notifier_finish,
    ) {
        // SAFETY: The caller guarantees that `finish` is that of the slot of an `Inner<T>`. The
        // kernel has set its notifier to the subscription of that `Inner<T>`, which is inserted,
        // hence valid.
        let this = unsafe {
            let field = Opaque::cast_from((*finish).notifier).cast_mut();
            &*container_of!(field, Self, subscription)
        };
        // SAFETY: This is the only second pass of the invalidation whose first pass has put a value
        // into the slot.
        let begun = unsafe { this.slot.take() };
        this.notifier.finish(begun, &this.shadow);
    }
}
