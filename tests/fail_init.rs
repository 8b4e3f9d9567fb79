// SPDX-License-Identifier: GPL-2.0

//! A module whose init leaves things behind, and then fails.
//!
//! The kernel frees its text without looking at what pins it. Whoever loads it goes on to return to
//! user space with a work queued, and there is a thread that nobody will stop.

use kernel::{
    prelude::*,
    time::Delta, //
};
use tether::{
    kthread::{
        self,
        Wake, //
    },
    task_work::{
        self,
        Mode, //
    }, //
};

module! {
    type: FailInit,
    name: "fail_init",
    authors: ["The Tether developers"],
    description: "Test: an init that leaves things behind and fails",
    license: "GPL",
}

struct FailInit;

impl kernel::Module for FailInit {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        task_work::add_fn(
            current!(),
            |_| pr_err!("a work ran in text that is gone\n"),
            Mode::Resume,
            GFP_KERNEL,
        )?;
        let thread = kthread::spawn(c"fail_init", |context| {
            while context.sleep_for(Delta::from_millis(1)) != Wake::Stopped {}
        })?;
        core::mem::forget(thread);
        // A detached one: it pins the module, which does not count here.
        let thread = kthread::spawn(c"fail_init", |context| {
            context.sleep_for(Delta::from_millis(50));
        })?;
        thread.detach()?;
        Err(EUCLEAN)
    }
}
