// SPDX-License-Identifier: GPL-2.0

//! A shadow is invariant in its value, which is changed through a shared reference.

use tether::mm::interval_notifier::Shadow;

/// Functions for any lifetime, and those for `'static`.
type Any = Shadow<for<'a> fn(&'a u8)>;
type Static = Shadow<fn(&'static u8)>;

/// Takes the one for the other.
pub fn coerce(it: &Any) -> Option<&Static> {
    let mut other: Option<&Static> = None;
    let _ = (it, &mut other);
    other = Some(it); // misuse: E0308
    other
}
