// SPDX-License-Identifier: GPL-2.0

//! An interval notifier's `Registration<T>` is invariant in `T`: `T` selects the callbacks.

use tether::mm::{
    mmu_interval_notifier::{
        Invalidate,
        MmuIntervalNotifier,
        OnePass,
        Registration, //
    },
    mmu_notifier::{
        MmuNotifierRange,
        WouldSleep, //
    },
};

/// A supertype of `Listener<F>` could implement the trait with other callbacks.
pub struct Listener<F>(pub F);

impl<F: Send + Sync + 'static> MmuIntervalNotifier for Listener<F> {
    type Shadow = ();
    type Passes = OnePass;

    fn try_invalidate(&self, _: &MmuNotifierRange<'_>, _: &mut ()) -> Result<(), WouldSleep> {
        Err(WouldSleep)
    }
}

impl<F: Send + Sync + 'static> Invalidate for Listener<F> {
    fn invalidate(&self, _: &MmuNotifierRange<'_>, _: &mut ()) {}
}

/// `Any` is a subtype of `Static`.
type Any = Listener<for<'a> fn(&'a u8)>;
type Static = Listener<fn(&'static u8)>;

/// Coerces a registration of `Any` to a registration of its supertype.
pub fn coerce(it: Registration<Any>) -> Option<Registration<Static>> {
    let mut other: Option<Registration<Static>> = None;
    let _ = (&it, &mut other);
    other = Some(it); // misuse: E0308
    other
}
