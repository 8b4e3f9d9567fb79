// SPDX-License-Identifier: GPL-2.0

//! A work runs in the worker's thread, not in that of who enqueues it.

use kernel::{
    prelude::*,
    types::NotThreadSafe, //
};
use tether::kthread::worker::Queue;

/// Enqueues two.
pub fn enqueue(queue: &Queue, guard: NotThreadSafe) -> Result {
    queue.try_spawn(GFP_KERNEL, move |_| ())?;
    queue.try_spawn(GFP_KERNEL, move |_| _ = &guard)?; // misuse: E0277
    Ok(())
}
