// SPDX-License-Identifier: GPL-2.0

//! The context of a thread's body cannot be used by another thread.

use kernel::prelude::*;
use tether::kthread;

/// Spawns a thread. Its body spawns a second thread, which uses the context of the first.
pub fn spawn() -> Result {
    kthread::spawn(c"thread", |context| {
        let _ = context.should_stop();
        kthread::spawn(c"other", move |_| _ = context.should_stop())?; // misuse: E0277
        Ok(())
    })?
    .join()?
}
