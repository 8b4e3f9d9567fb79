// SPDX-License-Identifier: GPL-2.0

//! Values that the KUnit suites of threads share; each suite includes this file as a module.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full, //
        },
        Arc,
        Completion, //
    }, //
};

/// Counts its instances in the given counter.
pub(crate) struct Counted(Arc<Atomic<i32>>);

impl Counted {
    pub(crate) fn new(alive: &Arc<Atomic<i32>>) -> Self {
        alive.fetch_add(1, Full);
        Self(alive.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Full);
    }
}

pub(crate) fn counter() -> Arc<Atomic<i32>> {
    Arc::new(Atomic::new(0), GFP_KERNEL).unwrap()
}

/// Creates an event that the bodies of threads wait for.
pub(crate) fn gate() -> Arc<Completion> {
    Arc::pin_init(Completion::new(), GFP_KERNEL).unwrap()
}
