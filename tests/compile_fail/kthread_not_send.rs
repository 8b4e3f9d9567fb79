// SPDX-License-Identifier: GPL-2.0

//! A thread's body cannot hold what belongs to the thread that spawns it.

use kernel::{
    prelude::*,
    types::NotThreadSafe, //
};
use tether::kthread;

/// Spawns two.
pub fn spawn(guard: NotThreadSafe) -> Result {
    kthread::spawn(c"thread", move |_| ())?.join()?;
    kthread::spawn(c"thread", move |_| _ = &guard)?.join()?; // misuse: E0277
    Ok(())
}
