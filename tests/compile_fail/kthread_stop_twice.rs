// SPDX-License-Identifier: GPL-2.0

//! A thread cannot be stopped twice, because `stop()` consumes the handle.

use kernel::prelude::*;
use tether::kthread;

/// Stops the same thread twice.
pub fn stop() -> Result {
    let thread = kthread::spawn(c"thread", |_| ())?;
    thread.stop()?;
    thread.stop()?; // misuse: E0382
    Ok(())
}
