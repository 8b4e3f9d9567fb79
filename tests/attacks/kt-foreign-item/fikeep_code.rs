// SPDX-License-Identifier: GPL-2.0
//! Keeps a work item that another module has made, and enqueues it when that module is gone.
// what it attacks: the type of the item belongs to this module, and holds nothing but a number and its
// `KthreadWork`. That one points at functions and at a table in the module that has called
// `KthreadWork::new()`. `Queue::enqueue()` reads that table before it knows whose it is.
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
/// Makes an item. It is compiled into the caller's module.
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
                // Kept for five seconds: its maker is gone then.
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
