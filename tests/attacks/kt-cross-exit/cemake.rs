// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Removes a module while it owns a thread or a worker of another module, which joins a thread of
//! this module.
//!
//! The joined thread runs until it is requested to stop, and its handle belongs to the thread
//! (`form=0`) or to the work (`form=1`) of `cekeep.ko`. The exit of this module drops the handle
//! of `cekeep.ko`'s thread or worker. A wait in an exit requests all threads of a module to stop,
//! but the module is that of the thread that is waited for, which is not being removed. If
//! nothing else ended the join, `rmmod` would not return.
//!
//! A sound library ends the join with `EINTR`, because its thread or worker is requested to stop.
//! The error returns the handle of the joined thread, and dropping this handle stops the thread.
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use tether::kthread::{self, worker::KthreadWorker, Thread};
module! {
    type: Make, name: "cemake", authors: ["h"], description: "attack", license: "GPL",
    params: { form: i32 { default: 0, description: "0: a thread, 1: a worker", }, },
}
struct Make {
    _thread: Option<Thread<()>>,
    _worker: Option<KthreadWorker>,
}
impl kernel::Module for Make {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let own = kthread::spawn(c"cemake", |context| while !context.sleep().is_stopped() {})?;
        let made = if module_parameters::form.value() == 0 {
            Make {
                _thread: Some(cekeep::cekeep_join(own)?),
                _worker: None,
            }
        } else {
            Make {
                _thread: None,
                _worker: Some(cekeep::cekeep_work(own)?),
            }
        };
        fsleep(Delta::from_millis(300));
        Ok(made)
    }
}
