// SPDX-License-Identifier: GPL-2.0

//! The registration of a notifier is invariant in the type that has chosen its callbacks.

use tether::mm::mmu_notifier::{
    MmuNotifier,
    Registration,
    ReleaseOnly, //
};

/// It may have other callbacks for a supertype of itself.
pub struct Listener<F>(pub F);

impl<F: Send + Sync + 'static> MmuNotifier for Listener<F> {
    type Callbacks = ReleaseOnly;
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
