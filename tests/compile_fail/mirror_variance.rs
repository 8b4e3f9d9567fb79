// SPDX-License-Identifier: GPL-2.0

//! `Mirror<T>` is invariant in `T`, because `T` selects the callbacks.

use tether::mm::{
    mirror::{
        Mirror,
        MirrorDevice, //
    },
    mmu_notifier::{
        MmuNotifierRange,
        WouldSleep, //
    },
};

/// A supertype of `Listener<F>` could implement the trait with other callbacks.
pub struct Listener<F>(pub F);

impl<F: Send + Sync + 'static> MirrorDevice for Listener<F> {
    fn invalidate(&self, _: &MmuNotifierRange<'_>) {}

    fn try_invalidate(&self, _: &MmuNotifierRange<'_>) -> Result<(), WouldSleep> {
        Err(WouldSleep)
    }
}

/// `Any` is a subtype of `Static`.
type Any = Listener<for<'a> fn(&'a u8)>;
type Static = Listener<fn(&'static u8)>;

/// Coerces a mirror of `Any` to a mirror of its supertype.
pub fn coerce(it: Mirror<Any>) -> Option<Mirror<Static>> {
    let mut other: Option<Mirror<Static>> = None;
    let _ = (&it, &mut other);
    other = Some(it); // misuse: E0308
    other
}
