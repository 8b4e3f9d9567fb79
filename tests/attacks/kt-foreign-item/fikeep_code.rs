// SPDX-License-Identifier: GPL-2.0
//! Enqueues a work item after the module that has created the item was removed.
//!
//! The type of the item belongs to this module. The item has only a number and its
//! `KthreadWork`, and code in `fimake.ko` has initialised the latter, so that it may point at
//! functions and at a table in that module.
//!
//! A sound library refuses the item or runs it, and does not read memory of the removed module.
use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex, SetOnce},
    time::Delta,
};
use tether::kthread::{self, worker::*, Builder, Thread};
module! { type: Keep, name: "fikeep", authors: ["h"], description: "attack", license: "GPL", }

#[allow(missing_docs)]
#[pin_data]
pub struct Item {
    n: u64,
    #[pin]
    work: KthreadWork<Item>,
}
impl_has_kthread_work! { impl HasKthreadWork<Self> for Item { self.work } }
impl KthreadWorkItem for Item {
    type Pointer = Arc<Item>;
    #[inline]
    fn run(this: Arc<Item>, _: &WorkContext<'_>) {
        pr_info!("fikeep: ran {}\n", this.n);
    }
}
/// Creates an item. This function is inlined into the module of the caller.
#[inline(always)]
pub fn make(n: u64) -> Result<Arc<Item>> {
    Arc::pin_init(
        pin_init!(Item { n, work <- KthreadWork::new() }),
        GFP_KERNEL,
    )
}
#[pin_data]
struct Slot {
    #[pin]
    kept: Mutex<Option<Arc<Item>>>,
}
static SLOT: SetOnce<Arc<Slot>> = SetOnce::new();
#[no_mangle]
#[allow(missing_docs)]
pub fn fikeep_keep(item: Arc<Item>) {
    if let Some(slot) = SLOT.as_ref() {
        *slot.kept.lock() = Some(item);
    }
}
struct Keep {
    _thread: Thread<()>,
}
impl kernel::Module for Keep {
    fn init(module: &'static ThisModule) -> Result<Self> {
        SLOT.populate(Arc::pin_init(
            pin_init!(Slot { kept <- new_mutex!(None) }),
            GFP_KERNEL,
        )?);
        let worker = Builder::new(c"fikeep-w").worker(module)?;
        let thread = kthread::spawn(c"fikeep", move |context| {
            while !context.sleep_for(Delta::from_millis(100)).is_stopped() {
                // Keep the item for six seconds, in which `fimake.ko` is removed.
                let Some(slot) = SLOT.as_ref() else { continue };
                if slot.kept.lock().is_none() {
                    continue;
                }
                if context.sleep_for(Delta::from_secs(6)).is_stopped() {
                    break;
                }
                let Some(item) = slot.kept.lock().take() else {
                    continue;
                };
                pr_info!("fikeep: enqueueing\n");
                pr_info!(
                    "fikeep: enqueued: {:?}\n",
                    worker.enqueue(item).map_err(|r| r.error)
                );
                let _ = worker.flush();
                pr_info!("fikeep: done\n");
            }
        })?;
        Ok(Keep { _thread: thread })
    }
}
impl Drop for Keep {
    fn drop(&mut self) {
        if let Some(slot) = SLOT.as_ref() {
            drop(slot.kept.lock().take());
        }
    }
}
