// SPDX-License-Identifier: GPL-2.0
//! Asks a task for something, for other modules.
// what it attacks: the closure belongs to this module, and pins this one; who waits for it is another module's worker.
// Nobody interrupts that: the end of the other module waits for as long as the task is stopped.
use kernel::{prelude::*, task::Task};
use tether::task_work::{self, Mode};
module! { type: Ask, name: "wrask", authors: ["h"], description: "attack", license: "GPL", }
#[no_mangle]
#[allow(missing_docs)]
pub fn wrask_ask(task: &Task) -> Result {
    task_work::add_fn(task, |_| (), Mode::Signal, GFP_KERNEL)?.wait()
}
struct Ask;
impl kernel::Module for Ask {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Ask)
    }
}
