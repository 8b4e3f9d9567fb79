// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Lets an init fail while its callback runs in another task and waits for a stopped task.
//!
//! The teardown waits for running callbacks. The callback sleeps interruptibly. If the teardown
//! did not interrupt it, `insmod` would wait as long as the task is stopped, and could not be
//! killed.
//!
//! A sound library interrupts the callback, and `insmod` returns.
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use tether::{
    pid,
    task_work::{self, NotifyMode},
};
module! {
    type: M, name: "rsuse", authors: ["h"], description: "attack", license: "GPL",
    params: {
        target: i32 { default: 0, description: "the task that runs the callback", },
        stopped: i32 { default: 0, description: "the task that the callback waits for", },
    },
}
struct M;
impl kernel::Module for M {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let target = pid::find_task(module_parameters::target.value()).ok_or(ESRCH)?;
        let stopped = pid::find_task(module_parameters::stopped.value()).ok_or(ESRCH)?;
        let pending = task_work::add_fn(
            &target,
            move |_| pr_info!("rsuse: waited: {:?}\n", rsask::rsask_ask(&stopped)),
            NotifyMode::Signal,
            GFP_KERNEL,
        )?;
        fsleep(Delta::from_millis(700));
        pr_info!("rsuse: done: {}\n", pending.is_done());
        Err(EIO)
    }
}
