// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Leaks a thread that waits killably for a closure of another module in a stopped task.
//!
//! The closure pins the other module only. A sound library lets `rmmod` return, as for
//! `Pending::wait()`.
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use tether::{kthread, pid};
module! {
    type: M, name: "kruse", authors: ["h"], description: "attack", license: "GPL",
    params: { stopped: i32 { default: 0, description: "the pid of a stopped task", }, },
}
struct M;
impl kernel::Module for M {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let stopped = pid::find_task(module_parameters::stopped.value()).ok_or(ESRCH)?;
        core::mem::forget(kthread::spawn(c"kruse", move |_| {
            pr_info!("kruse: waited: {:?}\n", krask::krask_ask(&stopped));
        })?);
        fsleep(Delta::from_millis(300));
        Ok(M)
    }
}
