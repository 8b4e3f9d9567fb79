// SPDX-License-Identifier: GPL-2.0

//! The registration of an interval notifier is invariant in the type that has chosen its callbacks.

use tether::mm::{
    interval_notifier::{
        IntervalNotifier,
        Invalidate,
        OnePass,
        Registration, //
    },
    mmu_notifier::{
        Range,
        WouldSleep, //
    },
};

/// It may have other callbacks for a supertype of itself.
pub struct Listener<F>(pub F);

impl<F: Send + Sync + 'static> IntervalNotifier for Listener<F> {
    type Shadow = ();
    type Passes = OnePass;

    fn try_invalidate(&self, _: &Range<'_>, _: &mut ()) -> Result<(), WouldSleep> {
        Err(WouldSleep)
    }
}

impl<F: Send + Sync + 'static> Invalidate for Listener<F> {
    fn invalidate(&self, _: &Range<'_>, _: &mut ()) {}
}

/// One for any lifetime, and one for `'static`.
type Any = Listener<for<'a> fn(&'a u8)>;
type Static = Listener<fn(&'static u8)>;

/// Takes the one for the other.
pub fn coerce(it: Registration<Any>) -> Option<Registration<Static>> {
    let mut other: Option<Registration<Static>> = None;
    let _ = (&it, &mut other);
    other = Some(it); // misuse: E0308
    other
}
