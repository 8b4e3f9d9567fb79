// SPDX-License-Identifier: GPL-2.0

//! A stand-in for the atomics of user space. The kernel accesses the same counters.

use crate::sync::atomic::{
    Atomic,
    Relaxed, //
};

pub use loom::sync::atomic::{
    fence,
    Ordering, //
};

/// The user's view of a counter. As on read-only memory, only relaxed loads are allowed.
#[repr(transparent)]
pub struct AtomicU64(Atomic<u64>);

impl AtomicU64 {
    /// As in the standard library.
    pub fn load(&self, order: Ordering) -> u64 {
        assert_eq!(order, Ordering::Relaxed);
        self.0.load(Relaxed)
    }
}
