// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! An init that fails, and drops a thread which waits for another thread, or for a worker.
// what it attacks: in the exit of a module, the drop of a handle asks all threads and workers of the module to end, as the
// thread may wait for one whose handle is dropped later, or was leaked. What a failing init drops is not that lucky.
// form 0: the thread flushes a worker that is dropped after it, and whose work waits for a stopped task. form 1: the
// thread joins another thread of the module, which it has the handle of. form 2: as 1, in the exit.
use kernel::{
    prelude::*,
    sync::Arc,
    time::{delay::fsleep, Delta},
};
use tether::{
    kthread::{self, Builder, Thread},
    pid,
    task_work::{self, Mode},
};
module! {
    type: M, name: "initchain", authors: ["h"], description: "attack", license: "GPL",
    params: {
        stopped: i32 { default: 0, description: "the task that is waited for", },
        form: i32 { default: 0, description: "what is waited for", },
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
                if let Ok(pending) = task_work::add_fn(&stopped, |_| (), Mode::Signal, GFP_KERNEL) {
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
