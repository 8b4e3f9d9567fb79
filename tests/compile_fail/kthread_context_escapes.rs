// SPDX-License-Identifier: GPL-2.0

//! What a body may ask as a kernel thread, another thread may not.

use kernel::prelude::*;
use tether::kthread;

/// Spawns one that spawns another.
pub fn spawn() -> Result {
    kthread::spawn(c"thread", |context| {
        let _ = context.should_stop();
        kthread::spawn(c"other", move |_| _ = context.should_stop())?; // misuse: E0277
        Ok(())
    })?
    .join()?
}
