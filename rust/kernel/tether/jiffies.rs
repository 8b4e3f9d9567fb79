// SPDX-License-Identifier: GPL-2.0

//! Conversion of times to jiffies, without overflow.

use crate::{
    bindings,
    prelude::*,
    time::{
        msecs_to_jiffies,
        Delta,
        Jiffies, //
    }, //
};
use core::ptr;

/// The kernel's count of ticks.
#[inline(always)]
pub(crate) fn jiffies() -> Jiffies {
    // SAFETY: The kernel's count of ticks may be read at any time.
    unsafe { ptr::read_volatile(&raw const bindings::jiffies) }
}

/// Rounds a time up to whole jiffies.
///
/// `msecs_to_jiffies()` alone takes 2^31 ms, which are 25 days, and more for a time without an end.
pub(crate) fn as_jiffies(time: Delta) -> Jiffies {
    let ms = time.as_millis_ceil().max(0);
    let seconds = Jiffies::try_from(ms / 1000).unwrap_or(Jiffies::MAX);
    seconds
        .saturating_mul(msecs_to_jiffies(1000))
        .saturating_add(msecs_to_jiffies((ms % 1000) as u32))
        // `MAX_JIFFY_OFFSET`
        .min((c_long::MAX as Jiffies >> 1) - 1)
}

/// Whether a wait of `time` jiffies may be taken for one that ends by itself.
pub(crate) fn is_short(time: Jiffies) -> bool {
    time <= msecs_to_jiffies(60_000)
}
