// SPDX-License-Identifier: GPL-2.0
//! Runs an empty closure in another task and waits for it, on behalf of `wcuse.ko`.
//!
//! The closure belongs to this module and pins this module only, so that `wcuse.ko` can be
//! removed while it waits. `wcuse.rs` describes the misuse and the expected answer.
use kernel::{prelude::*, task::Task};
use tether::task_work::{self, NotifyMode};
module! { type: Ask, name: "wcask", authors: ["h"], description: "attack", license: "GPL", }
#[no_mangle]
#[allow(missing_docs)]
pub fn wcask_ask(task: &Task) -> Result {
    task_work::add_fn(task, |_| (), NotifyMode::Signal, GFP_KERNEL)?.wait()
}
struct Ask;
impl kernel::Module for Ask {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Ask)
    }
}
