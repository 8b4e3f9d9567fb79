// SPDX-License-Identifier: GPL-2.0

//! The result of a body must be `Send`, because another thread receives it.

use kernel::{
    prelude::*,
    types::NotThreadSafe, //
};
use tether::kthread;

/// Spawns a thread that drops the value, and a thread that returns the value.
pub fn spawn() -> Result {
    kthread::spawn(c"thread", |_| _ = NotThreadSafe)?.join()?;
    drop(kthread::spawn(c"thread", |_| NotThreadSafe)); // misuse: E0277
    Ok(())
}
