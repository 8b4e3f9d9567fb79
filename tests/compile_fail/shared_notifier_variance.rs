// SPDX-License-Identifier: GPL-2.0

//! A reference to a shared notifier is invariant in the type that has chosen its callbacks.

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

/// It may have other callbacks for a supertype of itself.
pub struct Listener<F>(pub F);

impl<F: Send + Sync + 'static> MmuNotifier for Listener<F> {
    type Callbacks = ReleaseOnly;
}

impl<F: Send + Sync + 'static> SharedNotifier for Listener<F> {
    fn new(_mm: &MmWithUser) -> Result<Self> {
        Err(EINVAL)
    }
}

/// One for any lifetime, and one for `'static`.
type Any = Listener<for<'a> fn(&'a u8)>;
type Static = Listener<fn(&'static u8)>;

/// Takes the one for the other.
pub fn coerce(it: Shared<Any>) -> Option<Shared<Static>> {
    let mut other: Option<Shared<Static>> = None;
    let _ = (&it, &mut other);
    other = Some(it); // misuse: E0308
    other
}
