// SPDX-License-Identifier: GPL-2.0
//! Defines the item of `adoptrace.ko`, and adds it from the text of this module.
//!
//! `adoptrace.rs` describes the misuse and the expected answer.
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
    task::Task,
};
use tether::{
    impl_has_task_work,
    task_work::{self, Context, NotifyMode, TaskWork, TaskWorkItem},
};
module! { type: Lib, name: "adoptlib", authors: ["h"], description: "attack", license: "GPL", }

#[allow(missing_docs)]
#[pin_data]
pub struct Item {
    pub runs: Atomic<i32>,
    #[pin]
    work: TaskWork<Item>,
}
impl_has_task_work! { impl HasTaskWork<Self> for Item { self.work } }
impl TaskWorkItem for Item {
    type Pointer = Arc<Item>;
    #[inline]
    fn run(this: Arc<Item>, _: &Context<'_>) {
        this.runs.fetch_add(1, Relaxed);
    }
}
/// Creates an item. This function is inlined into the module of the caller.
#[inline(always)]
pub fn make() -> Result<Arc<Item>> {
    Arc::pin_init(
        pin_init!(Item { runs: Atomic::new(0), work <- TaskWork::new() }),
        GFP_KERNEL,
    )
}
/// Adds an item from this module's text.
#[no_mangle]
#[inline(never)]
pub fn adoptlib_add(task: &Task, item: Arc<Item>) -> Option<Error> {
    task_work::add(task, item, NotifyMode::Resume)
        .err()
        .map(|refused| refused.error)
}
struct Lib;
impl kernel::Module for Lib {
    fn init(_: &'static ThisModule) -> Result<Self> {
        Ok(Lib)
    }
}
