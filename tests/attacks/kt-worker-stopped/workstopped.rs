// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! An init that fails, and drops a worker whose work waits for a closure on a stopped task.
// what it attacks: `Pending::wait()` sleeps interruptibly, but nobody can interrupt the thread of a worker, not
// even the drop of the worker, which waits for the work.
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use tether::{
    kthread::Builder,
    pid,
    task_work::{self, Mode},
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
            let Ok(pending) = task_work::add_fn(&stopped, |_| (), Mode::Signal, GFP_KERNEL) else {
                return;
            };
            pr_info!("workstopped: waits\n");
            pr_info!("workstopped: waited: {:?}\n", pending.wait());
        })?;
        fsleep(Delta::from_millis(500));
        Err(EIO)
    }
}
