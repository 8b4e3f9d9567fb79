// SPDX-License-Identifier: GPL-2.0

//! What a body returns goes to another thread.

use kernel::{
    prelude::*,
    types::NotThreadSafe, //
};
use tether::kthread;

/// Spawns two.
pub fn spawn() -> Result {
    kthread::spawn(c"thread", |_| _ = NotThreadSafe)?.join()?;
    drop(kthread::spawn(c"thread", |_| NotThreadSafe)); // misuse: E0277
    Ok(())
}
