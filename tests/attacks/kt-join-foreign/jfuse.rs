// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Waits killably, in a thread, for a thread or a worker of another module.
//!
//! The teardown of this module asks the thread to stop, but does not stop the objects of
//! `jfkeep.ko`, which cannot be removed before this module. While the thread is in
//! `join_killable()` or `flush_killable()`, it cannot check for the request itself.
//!
//! A sound library ends the wait with `EINTR` when the thread is asked to stop, and `rmmod`
//! returns.
use kernel::prelude::*;
use tether::kthread;
module! {
    type: M, name: "jfuse", authors: ["h"], description: "attack", license: "GPL",
    params: { form: i32 { default: 0, description: "0: flush a worker, 1: join a thread", }, },
}
struct M {
    _thread: kthread::Thread<()>,
}
impl kernel::Module for M {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let form = module_parameters::form.value();
        let thread = kthread::spawn(c"jfuse", move |context| {
            while !context.should_stop() {
                if form == 0 {
                    if let Some(worker) = jfkeep::jfkeep_work() {
                        pr_info!("jfuse: flushed: {:?}\n", worker.flush_killable());
                    }
                } else if let Ok(thread) = jfkeep::jfkeep_make() {
                    pr_info!(
                        "jfuse: joined: {:?}\n",
                        thread.join_killable().map_err(|refused| refused.error)
                    );
                }
            }
        })?;
        Ok(M { _thread: thread })
    }
}
