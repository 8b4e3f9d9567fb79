// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Drops a worker in a failing init, while its work waits for a closure on a stopped task.
//!
//! `Pending::wait()` sleeps interruptibly, but no signal reaches the thread of a worker, and
//! the drop of the worker waits for the work.
//!
//! A sound library interrupts the work when the worker is dropped, and `insmod` returns.
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use tether::{
    kthread::Builder,
    pid,
    task_work::{self, NotifyMode},
};
module! {
    type: M, name: "workstopped", authors: ["h"], description: "attack", license: "GPL",
    params: { target: i32 { default: 0, description: "the pid of a stopped task", }, },
}
struct M;
impl kernel::Module for M {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let stopped = pid::find_task(module_parameters::target.value()).ok_or(ESRCH)?;
        let worker = Builder::new(c"workstopped").worker(module)?;
        worker.try_spawn(GFP_KERNEL, move |_| {
            let Ok(pending) = task_work::add_fn(&stopped, |_| (), NotifyMode::Signal, GFP_KERNEL)
            else {
                return;
            };
            pr_info!("workstopped: waits\n");
            pr_info!("workstopped: waited: {:?}\n", pending.wait());
        })?;
        fsleep(Delta::from_millis(500));
        Err(EIO)
    }
}
