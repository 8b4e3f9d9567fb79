// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Fails an init while its callback sleeps in a task with the maximum number of cancelled works.
//!
//! The callback waits for a closure of `ifask.ko` in a stopped task. Teardown ends this wait by
//! adding a work to the task of the callback. add_fn() fails with `EAGAIN` while several thousand
//! cancelled works are linked on a task, and these works stay linked until the callback returns.
//! If the limit applied to teardown as well, `insmod` would wait as long as the other task is
//! stopped.
//!
//! A sound library adds the work of teardown regardless of the limit: the wait ends, and `insmod`
//! returns with the error of the init.
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use tether::{
    pid,
    task_work::{self, NotifyMode},
};
module! {
    type: M, name: "ifuse", authors: ["h"], description: "attack", license: "GPL",
    params: {
        target: i32 { default: 0, description: "the pid of the task that runs the callback", },
        stopped: i32 { default: 0, description: "the pid of a stopped task", },
    },
}
struct M;
impl kernel::Module for M {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let target = pid::find_task(module_parameters::target.value()).ok_or(ESRCH)?;
        let stopped = pid::find_task(module_parameters::stopped.value()).ok_or(ESRCH)?;
        let pending = task_work::add_fn(
            &target,
            move |_| pr_info!("ifuse: waited: {:?}\n", ifask::ifask_ask(&stopped)),
            NotifyMode::Signal,
            GFP_KERNEL,
        )?;
        fsleep(Delta::from_millis(700));
        let mut cancelled = 0;
        let error = loop {
            match task_work::add_fn(&target, |_| (), NotifyMode::None, GFP_KERNEL) {
                Ok(pending) => drop(pending.cancel()),
                Err(refused) => break refused.error,
            }
            cancelled += 1;
        };
        pr_info!(
            "ifuse: done: {}, {cancelled} cancelled, then {error:?}\n",
            pending.is_done()
        );
        Err(EIO)
    }
}
