// SPDX-License-Identifier: GPL-2.0
//! Asks a task for something, for other modules: the closure is this module's, and pins this one only.
use kernel::{prelude::*, task::Task};
use tether::task_work::{self, Mode};
module! { type: Ask, name: "ewask", authors: ["h"], description: "attack", license: "GPL", }
#[no_mangle]
#[allow(missing_docs)]
pub fn ewask_ask(task: &Task) -> Result {
    task_work::add_fn(task, |_| (), Mode::Signal, GFP_KERNEL)?.wait()
}
struct Ask;
impl kernel::Module for Ask {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Ask)
    }
}
