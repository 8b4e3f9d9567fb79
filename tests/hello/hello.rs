// SPDX-License-Identifier: GPL-2.0

//! Prints a greeting in the context of the process that loads the module, when that process
//! returns to user space, and prints a tick every second until the module is removed.

use kernel::{
    prelude::*,
    time::Delta, //
};
use tether::{
    kthread::{
        self,
        Thread,
        Wake, //
    },
    task_work::{
        self,
        NotifyMode, //
    }, //
};

module! {
    type: Hello,
    name: "hello",
    authors: ["You"],
    description: "Example of an external module that uses Tether",
    license: "GPL",
}

struct Hello {
    _thread: Thread<()>,
}

impl kernel::Module for Hello {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        task_work::add_fn(
            current!(),
            |context| pr_info!("hello from pid {}\n", context.task().pid()),
            NotifyMode::Resume,
            GFP_KERNEL,
        )?;
        let thread = kthread::spawn(c"hello", |context| {
            while context.sleep_for(Delta::from_secs(1)) != Wake::Stopped {
                pr_info!("tick\n");
            }
        })?;
        // Dropping the module drops the handle, which stops and joins the thread. If the handle
        // were leaked, Tether would stop the thread before the module's text is freed.
        Ok(Self { _thread: thread })
    }
}
