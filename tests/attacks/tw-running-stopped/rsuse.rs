// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! An init that fails while its callback runs, which waits for a task that is stopped.
// what it attacks: the end of the module waits for callbacks that are running. Threads and works of workers are
// interrupted for that; the task that runs a task work is not, although the wait is interruptible: insmod cannot be
// killed, and stays for as long as the user of the two tasks likes.
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use tether::{
    pid,
    task_work::{self, Mode},
};
module! {
    type: M, name: "rsuse", authors: ["h"], description: "attack", license: "GPL",
    params: {
        target: i32 { default: 0, description: "the task that runs the callback", },
        stopped: i32 { default: 0, description: "the task that is waited for", },
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
            Mode::Signal,
            GFP_KERNEL,
        )?;
        fsleep(Delta::from_millis(700));
        pr_info!("rsuse: done: {}\n", pending.is_done());
        Err(EIO)
    }
}
