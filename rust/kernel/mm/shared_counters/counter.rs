// SPDX-License-Identifier: GPL-2.0

//! A counter: its additions are ordered before the change that they announce.
//!
//! This file uses atomic operations only, so that `tests/model/` can explore its interleavings.

use crate::sync::atomic::{
    Acquire,
    Atomic,
    Full, //
};

/// A counter that a process reads without a system call, while the driver changes it.
///
/// The driver adds to the counter **before** it changes the object, for example in a notifier,
/// which is called before the pages are unmapped. A process that has read the changed object, and
/// reads the counter afterwards, sees the addition, if it orders the two reads (`smp_rmb()`; in
/// user space an acquire fence). An unchanged counter therefore means that all data read before
/// belongs to the unchanged object.
///
/// The methods may be called in any context, and do not sleep. The values wrap.
///
/// # Examples
///
/// ```
/// use kernel::{
///     mm::shared_counters::SharedCounters,
///     prelude::*, //
/// };
///
/// let counters = SharedCounters::new(1, GFP_KERNEL)?;
/// let changes = counters.get(0).ok_or(EINVAL)?;
/// changes.add(3);
/// changes.sub(1);
/// assert_eq!(changes.load(), 2);
/// # Ok::<(), Error>(())
/// ```
#[repr(transparent)]
pub struct Counter(Atomic<u64>);

impl Counter {
    /// Adds to the counter. Earlier and later accesses of the caller are not reordered with this.
    #[inline]
    pub fn add(&self, value: u64) {
        // `Full` orders the addition before the later stores that change the object: a fully
        // ordered operation is a general barrier (`Documentation/atomic_t.txt`, ORDERING).
        self.0.fetch_add(value, Full);
    }

    /// Subtracts from the counter. Earlier and later accesses of the caller are not reordered with
    /// this.
    #[inline]
    pub fn sub(&self, value: u64) {
        self.0.fetch_sub(value, Full);
    }

    /// Returns the value. Later accesses of the caller are not reordered before this.
    #[inline]
    pub fn load(&self) -> u64 {
        self.0.load(Acquire)
    }
}
