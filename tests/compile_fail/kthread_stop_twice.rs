// SPDX-License-Identifier: GPL-2.0

//! Stopping a thread a second time would wait for ever: the handle is gone.

use kernel::prelude::*;
use tether::kthread;

/// Stops one.
pub fn stop() -> Result {
    let thread = kthread::spawn(c"thread", |_| ())?;
    thread.stop()?;
    thread.stop()?; // misuse: E0382
    Ok(())
}
