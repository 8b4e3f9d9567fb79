// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! A thread that waits killably for the thread, or the worker, of another module.
// what it attacks: a thread that is asked to stop is woken from interruptible sleeps, and what it waits for of its own
// module is asked as well. A killable wait for another module's thread is not ended by that: the thread cannot look
// whether it is to stop, and rmmod waits for ever. That other module cannot be removed before.
use kernel::prelude::*;
use tether::kthread;
module! {
    type: M, name: "jfuse", authors: ["h"], description: "attack", license: "GPL",
    params: { form: i32 { default: 0, description: "what is waited for", }, },
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
