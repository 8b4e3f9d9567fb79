// SPDX-License-Identifier: GPL-2.0

//! Nothing is enqueued on a worker that is gone.

use kernel::prelude::*;
use tether::kthread::{
    worker::Queue,
    Builder, //
};

/// Has a work for a worker.
pub struct Pending<'a> {
    queue: &'a Queue,
}

impl Pending<'_> {
    /// Enqueues it.
    pub fn enqueue(&self) -> Result {
        Ok(self.queue.try_spawn(GFP_KERNEL, |_| ())?)
    }
}

/// Enqueues one.
pub fn enqueue(module: &'static ThisModule) -> Result {
    let worker = Builder::new(c"worker").worker(module)?;
    let pending = Pending { queue: &worker };
    pending.enqueue()?;
    drop(worker); // misuse: E0505
    pending.enqueue()
}
