// SPDX-License-Identifier: GPL-2.0

//! `Shadow<T>` is invariant in `T`: a shared reference suffices to change the value.

use tether::mm::mmu_interval_notifier::Shadow;

/// The value of `Any` is a subtype of the value of `Static`.
type Any = Shadow<for<'a> fn(&'a u8)>;
type Static = Shadow<fn(&'static u8)>;

/// Coerces a shadow to a shadow of a supertype.
pub fn coerce(it: &Any) -> Option<&Static> {
    let mut other: Option<&Static> = None;
    let _ = (it, &mut other);
    other = Some(it); // misuse: E0308
    other
}
