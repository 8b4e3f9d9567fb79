// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Keeps a worker busy for 25 seconds and a thread for 40 seconds while the module is removed.
//!
//! Both handles are in the module's struct, so that the exit of the module drops them and
//! waits.
//!
//! A sound library names the worker in the log while its work makes `rmmod` wait:
//! `Documentation/kthread.rst` promises a message every ten seconds.
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use tether::kthread::{self, worker::KthreadWorker, Builder, Thread};
module! { type: M, name: "silentend", authors: ["h"], description: "attack", license: "GPL", }
struct M {
    _worker: KthreadWorker,
    _thread: Thread<()>,
}
impl kernel::Module for M {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let worker = Builder::new(c"silentend").worker(module)?;
        worker.try_spawn(GFP_KERNEL, |_| {
            for _ in 0..25 {
                fsleep(Delta::from_secs(1))
            }
        })?;
        let thread = kthread::spawn(c"silentend", |_| {
            for _ in 0..40 {
                fsleep(Delta::from_secs(1))
            }
        })?;
        Ok(M {
            _worker: worker,
            _thread: thread,
        })
    }
}
