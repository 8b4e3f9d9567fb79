// SPDX-License-Identifier: GPL-2.0
//! Keeps an item of `rluser.ko` after that module was removed.
//!
//! `rluser.rs` describes the misuse and the expected answer.
use kernel::{
    new_mutex,
    prelude::*,
    sync::{Mutex, SetOnce},
};
use tether::{
    impl_has_task_work,
    task_work::{Context, TaskWork, TaskWorkItem},
};
module! {
    type: Keep, name: "rlkeep", authors: ["h"], description: "attack", license: "GPL",
    params: { target: i64 { default: 0, description: "pid", }, },
}
#[allow(missing_docs)]
#[pin_data]
pub struct Item {
    n: u64,
    #[pin]
    work: TaskWork<Item>,
}
impl_has_task_work! { impl HasTaskWork<Self> for Item { self.work } }
impl TaskWorkItem for Item {
    type Pointer = Pin<KBox<Item>>;
    #[inline]
    fn run(this: Pin<KBox<Item>>, _: &Context<'_>) {
        pr_info!("rlkeep: ran {}\n", this.n);
    }
}
/// Creates an item. This function is inlined into the module of the caller.
#[inline(always)]
pub fn make(n: u64) -> Result<Pin<KBox<Item>>> {
    KBox::pin_init(pin_init!(Item { n, work <- TaskWork::new() }), GFP_KERNEL)
}
struct Kept {
    item: Pin<KBox<Item>>,
    /// An address in the text of the module that has created the item.
    text: usize,
    /// An address in its data.
    data: usize,
}
#[pin_data]
struct Slot {
    #[pin]
    kept: Mutex<Option<Kept>>,
}
static SLOT: SetOnce<Pin<KBox<Slot>>> = SetOnce::new();
#[no_mangle]
#[allow(missing_docs)]
pub fn rlkeep_keep(item: Pin<KBox<Item>>, text: usize, data: usize) {
    if let Some(slot) = SLOT.as_ref() {
        *slot.kept.lock() = Some(Kept { item, text, data });
    }
}
/// Returns the item if its creator had the same addresses, or `None` if there is no item yet.
///
/// # Errors
///
/// `EAGAIN` if the creator had other addresses; the item is kept.
#[no_mangle]
pub fn rlkeep_take(text: usize, data: usize) -> Result<Option<Pin<KBox<Item>>>> {
    let Some(slot) = SLOT.as_ref() else {
        return Ok(None);
    };
    let mut kept = slot.kept.lock();
    match kept.take() {
        Some(it) if it.text == text && it.data == data => Ok(Some(it.item)),
        None => Ok(None),
        other => {
            *kept = other;
            Err(EAGAIN)
        }
    }
}
#[no_mangle]
#[allow(missing_docs)]
pub fn rlkeep_target() -> i32 {
    module_parameters::target.value() as i32
}
struct Keep;
impl kernel::Module for Keep {
    fn init(_: &'static ThisModule) -> Result<Self> {
        SLOT.populate(KBox::pin_init(
            pin_init!(Slot { kept <- new_mutex!(None) }),
            GFP_KERNEL,
        )?);
        Ok(Keep)
    }
}
impl Drop for Keep {
    fn drop(&mut self) {
        if let Some(slot) = SLOT.as_ref() {
            drop(slot.kept.lock().take());
        }
    }
}
