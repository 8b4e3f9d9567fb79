// SPDX-License-Identifier: GPL-2.0

//! The body of a thread cannot capture a value that is bound to the spawning thread.

use kernel::{
    prelude::*,
    types::NotThreadSafe, //
};
use tether::kthread;

/// Spawns a thread without captures, and a thread that captures `guard`.
pub fn spawn(guard: NotThreadSafe) -> Result {
    kthread::spawn(c"thread", move |_| ())?.join()?;
    kthread::spawn(c"thread", move |_| _ = &guard)?.join()?; // misuse: E0277
    Ok(())
}
