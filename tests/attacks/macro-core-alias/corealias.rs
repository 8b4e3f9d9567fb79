// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! A crate that calls itself `core`.
// what it attacks: `impl_has_task_work!` finds the item of a node by `container_of!`, which expands to
// `::core::mem::offset_of!` in the user's crate. `extern crate self as core` makes that the user's own macro.
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
    task_work::{self, Context, Mode, TaskWork, TaskWorkItem},
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
                "corealias: BAD: the item is not where it is: {:x?}\n",
                this.data
            );
        } else {
            pr_info!("corealias: good\n");
        }
        // What comes next frees the wrong address.
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
        task_work::add(kernel::current!(), item, Mode::Resume)?;
        Ok(M)
    }
}
