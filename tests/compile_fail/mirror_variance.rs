// SPDX-License-Identifier: GPL-2.0

//! A mirror is invariant in the type that has chosen its callbacks.

use tether::mm::{
    mirror::{
        Mirror,
        MirrorDevice, //
    },
    mmu_notifier::{
        Range,
        WouldSleep, //
    },
};

/// It may have other callbacks for a supertype of itself.
pub struct Listener<F>(pub F);

impl<F: Send + Sync + 'static> MirrorDevice for Listener<F> {
    fn invalidate(&self, _: &Range<'_>) {}

    fn try_invalidate(&self, _: &Range<'_>) -> Result<(), WouldSleep> {
        Err(WouldSleep)
    }
}

/// One for any lifetime, and one for `'static`.
type Any = Listener<for<'a> fn(&'a u8)>;
type Static = Listener<fn(&'static u8)>;

/// Takes the one for the other.
pub fn coerce(it: Mirror<Any>) -> Option<Mirror<Static>> {
    let mut other: Option<Mirror<Static>> = None;
    let _ = (&it, &mut other);
    other = Some(it); // misuse: E0308
    other
}
