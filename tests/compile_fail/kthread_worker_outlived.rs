// SPDX-License-Identifier: GPL-2.0

//! A queue cannot be used after its worker was dropped.

use kernel::prelude::*;
use tether::kthread::{
    worker::Queue,
    Builder, //
};

/// Borrows the queue of a worker.
pub struct Pending<'a> {
    queue: &'a Queue,
}

impl Pending<'_> {
    /// Enqueues a closure.
    pub fn enqueue(&self) -> Result {
        Ok(self.queue.try_spawn(GFP_KERNEL, |_| ())?)
    }
}

/// Enqueues a closure before and after the worker is dropped.
pub fn enqueue(module: &'static ThisModule) -> Result {
    let worker = Builder::new(c"worker").worker(module)?;
    let pending = Pending { queue: &worker };
    pending.enqueue()?;
    drop(worker); // misuse: E0505
    pending.enqueue()
}
