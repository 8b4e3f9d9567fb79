// SPDX-License-Identifier: GPL-2.0

//! A work runs in the worker's thread: it cannot capture a value that is bound to the enqueuing
//! thread.

use kernel::{
    prelude::*,
    types::NotThreadSafe, //
};
use tether::kthread::worker::Queue;

/// Enqueues a closure without captures, and a closure that captures `guard`.
pub fn enqueue(queue: &Queue, guard: NotThreadSafe) -> Result {
    queue.try_spawn(GFP_KERNEL, move |_| ())?;
    queue.try_spawn(GFP_KERNEL, move |_| _ = &guard)?; // misuse: E0277
    Ok(())
}
