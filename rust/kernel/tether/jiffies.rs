// SPDX-License-Identifier: GPL-2.0

//! Conversion of a [`Delta`] to jiffies, without overflow.

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

/// `MAX_JIFFY_OFFSET`: the longest time that a timer can be set to.
pub(crate) const MAX_JIFFY_OFFSET: Jiffies = (c_long::MAX as Jiffies >> 1) - 1;

/// Returns the current value of `jiffies`.
#[inline(always)]
pub(crate) fn jiffies() -> Jiffies {
    // SAFETY: `jiffies` is a static variable of the kernel, which is updated by atomic stores of
    // its size and may be read concurrently in any context.
    unsafe { ptr::read_volatile(&raw const bindings::jiffies) }
}

/// Converts a time to jiffies, rounding up.
///
/// `msecs_to_jiffies()` converts at most 2^31 ms, which is 25 days; it treats a longer time as
/// infinite.
pub(crate) fn as_jiffies(time: Delta) -> Jiffies {
    let ms = time.as_millis_ceil().max(0);
    let seconds = Jiffies::try_from(ms / 1000).unwrap_or(Jiffies::MAX);
    seconds
        .saturating_mul(msecs_to_jiffies(1000))
        .saturating_add(msecs_to_jiffies((ms % 1000) as u32))
        .min(MAX_JIFFY_OFFSET)
}

/// Returns whether a wait of `time` jiffies is short (at most 60 s), so that it can be expected to
/// end by itself.
pub(crate) fn is_short(time: Jiffies) -> bool {
    time <= msecs_to_jiffies(60_000)
}
