// SPDX-License-Identifier: GPL-2.0

//! `Registration<T>` of a notifier is invariant in `T`, because `T` selects the callbacks.

use tether::mm::mmu_notifier::{
    MmuNotifier,
    Registration,
    ReleaseOnly, //
};

/// A supertype of `Listener<F>` could implement the trait with other callbacks.
pub struct Listener<F>(pub F);

impl<F: Send + Sync + 'static> MmuNotifier for Listener<F> {
    type Callbacks = ReleaseOnly;
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
