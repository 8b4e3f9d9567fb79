// SPDX-License-Identifier: GPL-2.0

//! `Shared<T>` is invariant in `T`, because `T` selects the callbacks.

use kernel::prelude::*;
use tether::mm::{
    mmu_notifier::{
        MmuNotifier,
        ReleaseOnly, //
    },
    shared_notifier::{
        Shared,
        SharedNotifier, //
    },
    MmWithUser, //
};

/// A supertype of `Listener<F>` could implement the trait with other callbacks.
pub struct Listener<F>(pub F);

impl<F: Send + Sync + 'static> MmuNotifier for Listener<F> {
    type Callbacks = ReleaseOnly;
}

impl<F: Send + Sync + 'static> SharedNotifier for Listener<F> {
    fn new(_mm: &MmWithUser) -> Result<Self> {
        Err(EINVAL)
    }
}

/// `Any` is a subtype of `Static`.
type Any = Listener<for<'a> fn(&'a u8)>;
type Static = Listener<fn(&'static u8)>;

/// Coerces a reference to a reference of a supertype.
pub fn coerce(it: Shared<Any>) -> Option<Shared<Static>> {
    let mut other: Option<Shared<Static>> = None;
    let _ = (&it, &mut other);
    other = Some(it); // misuse: E0308
    other
}
