// SPDX-License-Identifier: GPL-2.0

//! Reading a counter that the kernel increments.
//!
//! This file uses `crate::atomic` only, so that `tests/model/` can explore its interleavings with
//! `rust/kernel/mm/shared_counters/counter.rs`: a notifier adds to the counter before pages are
//! unmapped.

use crate::atomic::fence;
use crate::atomic::AtomicU64;
use crate::atomic::Ordering;

/// Returns the value of a counter.
///
/// Reads of memory before this call are not reordered after the load of the counter, and later
/// reads are not reordered before it.
pub fn read(counter: &AtomicU64) -> u64 {
    fence(Ordering::Acquire);
    // A relaxed load and a fence, because only relaxed atomic loads are allowed on read-only
    // memory.
    let value = counter.load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    value
}
