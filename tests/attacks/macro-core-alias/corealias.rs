// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Names the own crate `core`, and replaces `offset_of!` in it by a macro that returns 0.
//!
//! `impl_has_task_work!` computes the address of an item from the address of its node. The code of
//! this macro is part of the crate that uses it, where `extern crate self as core` changes the
//! meaning of `::core`. If the macro used `::core::mem::offset_of!`, safe code could make the
//! library pass a wrong address to the callback.
//!
//! A sound library names the crate by a path that the user cannot change: the callback receives
//! the item that was added.
extern crate core as real;
extern crate self as core;
#[allow(unused_imports)]
pub(crate) use real::*;
macro_rules! evil {
    ($($t:tt)*) => {
        0usize
    };
}
#[allow(missing_docs)]
pub mod mem {
    pub use crate::real::mem::*;
    #[allow(hidden_glob_reexports)]
    pub(crate) use evil as offset_of;
}
use kernel::prelude::*;
use tether::{
    impl_has_task_work,
    task_work::{self, Context, NotifyMode, TaskWork, TaskWorkItem},
};
module! { type: M, name: "corealias", authors: ["h"], description: "attack", license: "GPL", }
#[pin_data]
#[repr(C)]
struct Item {
    data: [u64; 8],
    #[pin]
    work: TaskWork<Item>,
}
impl_has_task_work! { impl HasTaskWork<Self> for Item { self.work } }
impl TaskWorkItem for Item {
    type Pointer = Pin<KBox<Item>>;
    fn run(this: Pin<KBox<Item>>, _: &Context<'_>) {
        if this.data != [0x5a5a; 8] {
            pr_err!(
                "corealias: BAD: wrong address of the item: {:x?}\n",
                this.data
            );
        } else {
            pr_info!("corealias: good\n");
        }
        // With a wrong address, the drop frees wrong memory, which KASAN reports. Leak the item on
        // kernels without KASAN.
        if module_parameters_free() {
            drop(this);
        } else {
            real::mem::forget(this);
        }
    }
}
fn module_parameters_free() -> bool {
    cfg!(CONFIG_KASAN)
}
struct M;
impl kernel::Module for M {
    fn init(_: &'static ThisModule) -> Result<Self> {
        let item = KBox::pin_init(
            pin_init!(Item { data: [0x5a5a; 8], work <- TaskWork::new() }),
            GFP_KERNEL,
        )?;
        task_work::add(kernel::current!(), item, NotifyMode::Resume)?;
        Ok(M)
    }
}
