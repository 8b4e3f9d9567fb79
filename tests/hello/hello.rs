// SPDX-License-Identifier: GPL-2.0

//! Says hello from the process that has loaded it, as soon as that returns to user space, and
//! ticks until it is removed.

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
        Mode, //
    }, //
};

module! {
    type: Hello,
    name: "hello",
    authors: ["You"],
    description: "Tether from a module of one's own",
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
            Mode::Resume,
            GFP_KERNEL,
        )?;
        let thread = kthread::spawn(c"hello", |context| {
            while context.sleep_for(Delta::from_secs(1)) != Wake::Stopped {
                pr_info!("tick\n");
            }
        })?;
        // Stored in the module it ends with the module. Forgotten, it would be stopped all the
        // same before the module's code goes.
        Ok(Self { _thread: thread })
    }
}
