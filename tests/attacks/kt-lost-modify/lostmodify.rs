// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Enqueues, cancels and modifies a delayed item in its own callback, while another task
//! cancels it.
//!
//! `cancel()` in the callback fails and leaves the item pending, even while another `cancel()`
//! waits for the callback. If `modify_delayed()` took the item out of the queue, found that it
//! is being cancelled, and reported that it was not pending, the reference of the queue would
//! be leaked.
//!
//! A sound library drops each of the 100 items.
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
    time::{
        delay::{fsleep, udelay},
        Delta,
    },
};
use tether::kthread::{self, worker::*, Builder};
module! { type: M, name: "lostmodify", authors: ["h"], description: "attack", license: "GPL", }
static DROPPED: Atomic<u32> = Atomic::new(0);
struct Counted;
impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Relaxed);
    }
}
#[pin_data]
struct Item {
    counted: Counted,
    runs: Atomic<u32>,
    begun: Atomic<u32>,
    #[pin]
    work: KthreadDelayedWork<Item>,
}
impl_has_kthread_delayed_work! { impl HasKthreadDelayedWork<Self> for Item { self.work } }
impl KthreadWorkItem for Item {
    type Pointer = Arc<Item>;
    fn run(this: Arc<Item>, context: &WorkContext<'_>) {
        if this.runs.fetch_add(1, Relaxed) != 0 {
            return;
        }
        this.begun.store(1, Relaxed);
        for _ in 0..3000 {
            // After this call the item is pending, unless another task cancels it.
            let _ = context.queue().enqueue_delayed(this.clone(), 100_000);
            let _ = context.queue().cancel(&this);
            let _ = context.queue().modify_delayed(this.clone(), 100_000);
        }
    }
}
struct M;
impl kernel::Module for M {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let rounds = 100u32;
        let worker = Builder::new(c"lostmodify").worker(module)?;
        for round in 0..rounds {
            let item = Arc::pin_init(
                pin_init!(Item {
                    counted: Counted, runs: Atomic::new(0), begun: Atomic::new(0), work <- KthreadDelayedWork::new(),
                }),
                GFP_KERNEL,
            )?;
            worker.enqueue_delayed(item.clone(), 0)?;
            while item.begun.load(Relaxed) == 0 {
                fsleep(Delta::from_micros(100));
            }
            for _ in 0..(round % 10) {
                udelay(Delta::from_micros(50));
            }
            let _ = worker.cancel(&item);
            let _ = worker.cancel(&item);
        }
        worker.flush()?;
        drop(worker);
        fsleep(Delta::from_millis(100));
        pr_info!(
            "lostmodify: {rounds} items, {} dropped\n",
            DROPPED.load(Relaxed)
        );
        let _ = kthread::spawn(c"x", |_| ());
        Ok(M)
    }
}
