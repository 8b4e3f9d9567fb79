// SPDX-License-Identifier: GPL-2.0

//! Invalidation in one pass or in two: the traits, the kernel's tables, and the C functions in them.

use super::{
    private::Sealed,
    Inner,
    IntervalNotifier,
    Passes,
    Shadow,
    Slot, //
};
use crate::{
    bindings,
    container_of,
    mm::mmu_notifier::Range,
    types::Opaque, //
};

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
    /// the same address space ([`Registration::read`](super::Registration::read),
    /// [`Registration::fault`](super::Registration::fault)): the invalidation
    /// that waits for this is still in progress, so that the look-up would wait for it.
    fn finish(&self, begun: Self::Begun, shadow: &Shadow<Self::Shadow>);
}

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
