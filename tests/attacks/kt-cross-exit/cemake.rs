// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Has a thread, or a worker, of another module, which waits for a thread of this one.
// what it attacks: a wait in the exit of a module asks all threads to stop, as what it waits for may wait for one of them:
// those of the module that the thread belongs to which is waited for, and not those of the module whose exit is running.
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use tether::kthread::{self, worker::KthreadWorker, Thread};
module! {
    type: Make, name: "cemake", authors: ["h"], description: "attack", license: "GPL",
    params: { form: i32 { default: 0, description: "a thread or a worker", }, },
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
