// SPDX-License-Identifier: GPL-2.0
//! Runs a closure in another task and waits for it killably, on behalf of `kruse.ko`.
use kernel::{prelude::*, task::Task};
use tether::task_work::{self, NotifyMode};
module! { type: Ask, name: "krask", authors: ["h"], description: "attack", license: "GPL", }
#[no_mangle]
#[allow(missing_docs)]
pub fn krask_ask(task: &Task) -> Result {
    Ok(task_work::call(task, |_| (), NotifyMode::Signal, GFP_KERNEL)?.wait_killable()?)
}
struct Ask;
impl kernel::Module for Ask {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Ask)
    }
}
