// SPDX-License-Identifier: GPL-2.0

//! The counterpart of `timer.rs` with Tether: a thread that sleeps for a second. Its handle is
//! leaked; module teardown stops the thread and joins it. Tether has no timers that call in an
//! interrupt.

use kernel::{
    prelude::*,
    time::Delta, //
};
use tether::kthread::{
    self,
    Wake, //
};

module! {
    type: Module,
    name: "tether_timer",
    authors: ["The Tether developers"],
    description: "A thread that is stopped when its module is unloaded",
    license: "GPL",
}

struct Module;

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let thread = kthread::spawn(c"later", |context| {
            if context.sleep_for(Delta::from_secs(1)) != Wake::Stopped {
                pr_info!("the time has passed\n");
            }
        })?;
        core::mem::forget(thread);
        Ok(Self)
    }
}
