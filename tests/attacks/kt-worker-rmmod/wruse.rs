// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Removes a module while its worker and its thread wait for a stopped task.
//!
//! Both wait for a closure of `wrask.ko`, which does not pin this module. The worker is dropped
//! by the exit of the module, or leaked with `leak=1`. If nothing interrupted its work, `rmmod`
//! would wait as long as the task is stopped.
//!
//! A sound library interrupts both waits, and `rmmod` returns while the task is stopped.
use kernel::prelude::*;
use tether::{
    kthread::{self, worker::KthreadWorker, Builder, Thread},
    pid,
};
module! {
    type: M, name: "wruse", authors: ["h"], description: "attack", license: "GPL",
    params: { target: i32 { default: 0, description: "the pid of a stopped task", }, leak: i32 { default: 0, description: "leak the worker", }, },
}
struct M {
    _thread: Thread<()>,
    _worker: Option<KthreadWorker>,
}
impl kernel::Module for M {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let stopped = pid::find_task(module_parameters::target.value()).ok_or(ESRCH)?;
        let other = stopped.clone();
        let thread = kthread::spawn(c"wruse", move |_| {
            pr_info!("wruse: the thread: {:?}\n", wrask::wrask_ask(&other));
        })?;
        let worker = Builder::new(c"wruse").worker(module)?;
        worker.try_spawn(GFP_KERNEL, move |_| {
            pr_info!("wruse: the worker: {:?}\n", wrask::wrask_ask(&stopped));
        })?;
        if module_parameters::leak.value() != 0 {
            core::mem::forget(worker);
            return Ok(M {
                _thread: thread,
                _worker: None,
            });
        }
        Ok(M {
            _thread: thread,
            _worker: Some(worker),
        })
    }
}
