// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Fails an init while a thread of the module waits in `in_each_thread()` for a stopped process
//! (`form=0`), and passes a time that overflows (`form=1`).
//!
//! Teardown drops the closures. A sound library returns an error, because no thread has called the
//! closure, and does not panic.
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
    time::{delay::fsleep, Delta},
};
use tether::{
    kthread, pid,
    task_work::{self, Context},
};
module! {
    type: M, name: "eachdisarm", authors: ["h"], description: "attack", license: "GPL",
    params: {
        target: i32 { default: 0, description: "the pid of a process", },
        form: i32 { default: 0, description: "0: failed init, 1: overflow", },
    },
}
static CALLED: Atomic<i32> = Atomic::new(0);
struct M;
impl kernel::Module for M {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let target = pid::find_task(module_parameters::target.value()).ok_or(ESRCH)?;
        let form = module_parameters::form.value();
        let time = match form {
            0 => Delta::from_secs(1000),
            1 => Delta::from_secs(i64::MIN),
            _ => Delta::from_secs(i64::MAX),
        };
        let thread = kthread::spawn(c"eachdisarm", move |_| {
            let Ok(func) = Arc::new(
                |_: &Context<'_>| {
                    CALLED.fetch_add(1, Relaxed);
                },
                GFP_KERNEL,
            ) else {
                return;
            };
            let result = task_work::in_each_thread(&target, &func, time);
            pr_info!(
                "eachdisarm: {form}: {result:?}, called {}\n",
                CALLED.load(Relaxed)
            );
        })?;
        fsleep(Delta::from_millis(800));
        core::mem::forget(thread);
        Err(EIO)
    }
}
