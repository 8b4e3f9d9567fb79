// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Drops a thread in a failing init, while the thread waits for another thread or for a worker.
//!
//! * `form=0`: the thread flushes a worker. The last handle of the worker is dropped after the
//!   thread. The work on this worker waits for a stopped task.
//! * `form=1`: the thread owns the handle of another thread and joins it. The other thread runs
//!   until it is requested to stop.
//! * `form=2`: as form 1, but the init succeeds and the exit drops the thread.
//!
//! A wait in the exit of a module requests all threads and workers of the module to stop. The
//! drops at the end of a failing init happen before the exit state, so that no such request is
//! made. If nothing else ended the thread's wait, `insmod` would wait as long as the task is
//! stopped (form 0), or would not return (form 1).
//!
//! A sound library ends flush() and join() with `EINTR` in a thread that is requested to stop.
//! `insmod` returns with the error of the init, and `rmmod` succeeds.
use kernel::{
    prelude::*,
    sync::Arc,
    time::{delay::fsleep, Delta},
};
use tether::{
    kthread::{self, Builder, Thread},
    pid,
    task_work::{self, NotifyMode},
};
module! {
    type: M, name: "initchain", authors: ["h"], description: "attack", license: "GPL",
    params: {
        stopped: i32 { default: 0, description: "the pid of a stopped task", },
        form: i32 { default: 0, description: "see the first comment", },
    },
}
struct M {
    _thread: Thread<()>,
}
impl kernel::Module for M {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let form = module_parameters::form.value();
        if form == 0 {
            let stopped = pid::find_task(module_parameters::stopped.value()).ok_or(ESRCH)?;
            let worker = Arc::new(Builder::new(c"initchain-w").worker(module)?, GFP_KERNEL)?;
            worker.try_spawn(GFP_KERNEL, move |_| {
                if let Ok(pending) =
                    task_work::add_fn(&stopped, |_| (), NotifyMode::Signal, GFP_KERNEL)
                {
                    pr_info!("initchain: the work: {:?}\n", pending.wait());
                }
            })?;
            let flushed = worker.clone();
            let _thread = kthread::spawn(c"initchain", move |_| {
                pr_info!("initchain: flush: {:?}\n", flushed.flush());
            })?;
            fsleep(Delta::from_millis(300));
            pr_info!("initchain: form {form}: done\n");
            return Err(EIO);
        }
        let other = kthread::spawn(
            c"initchain-o",
            |context| while !context.sleep().is_stopped() {},
        )?;
        let thread = kthread::spawn(c"initchain", move |_| {
            pr_info!(
                "initchain: join: {:?}\n",
                other.join().map_err(|refused| refused.error)
            );
        })?;
        fsleep(Delta::from_millis(300));
        pr_info!("initchain: form {form}: done\n");
        if form == 1 {
            return Err(EIO);
        }
        Ok(M { _thread: thread })
    }
}
