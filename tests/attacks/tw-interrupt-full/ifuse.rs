// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! An init that fails while its callback waits, on a task that has as many cancelled works as there may be.
// what it attacks: the end of a module interrupts a callback that is running by a closure, and ignores that
// `add_fn()` fails: with EAGAIN, as long as several thousand cancelled works are linked on the task, which does not
// pass them before the callback returns.
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use tether::{
    pid,
    task_work::{self, Mode},
};
module! {
    type: M, name: "ifuse", authors: ["h"], description: "attack", license: "GPL",
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
            move |_| pr_info!("ifuse: waited: {:?}\n", ifask::ifask_ask(&stopped)),
            Mode::Signal,
            GFP_KERNEL,
        )?;
        fsleep(Delta::from_millis(700));
        let mut cancelled = 0;
        let error = loop {
            match task_work::add_fn(&target, |_| (), Mode::None, GFP_KERNEL) {
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
