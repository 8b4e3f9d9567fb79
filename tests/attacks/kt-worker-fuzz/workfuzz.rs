// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Applies random operations to delayed items, in three threads and in the callbacks of the
//! items.
//!
//! The handle of the worker is dropped meanwhile.
//!
//! A sound library drops each of the 120 items exactly once.
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
    time::{delay::fsleep, Delta},
};
use tether::kthread::{self, worker::*, Builder};
module! { type: M, name: "workfuzz", authors: ["h"], description: "attack", license: "GPL", }
static DROPPED: Atomic<u32> = Atomic::new(0);
static SEED: Atomic<u32> = Atomic::new(1);
struct Counted;
impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Relaxed);
    }
}
#[pin_data]
struct Item {
    counted: Counted,
    #[pin]
    work: KthreadDelayedWork<Item>,
}
fn random() -> u32 {
    let n = SEED
        .load(Relaxed)
        .wrapping_mul(1103515245)
        .wrapping_add(12345);
    SEED.store(n, Relaxed);
    n >> 8
}
fn step(queue: &Queue, item: &Arc<Item>, inside: bool) {
    let delay = [0, 0, 1, 2, 1000][random() as usize % 5];
    match random() % 8 {
        0 | 1 => drop(queue.enqueue_delayed(item.clone(), delay)),
        2 | 3 => drop(queue.modify_delayed(item.clone(), delay)),
        4 => drop(queue.enqueue(item.clone())),
        5 if !inside => drop(queue.cancel(item)),
        6 => drop(queue.flush_work(item)),
        7 if random() % 8 == 0 => drop(queue.flush_timeout(Delta::from_millis(1))),
        _ => {}
    }
}
impl_has_kthread_delayed_work! { impl HasKthreadDelayedWork<Self> for Item { self.work } }
impl KthreadWorkItem for Item {
    type Pointer = Arc<Item>;
    fn run(this: Arc<Item>, context: &WorkContext<'_>) {
        for _ in 0..random() % 4 {
            step(context.queue(), &this, true);
        }
    }
}
struct M;
impl kernel::Module for M {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let mut made = 0u32;
        for _ in 0..40 {
            let worker = Arc::new(Builder::new(c"workfuzz").worker(module)?, GFP_KERNEL)?;
            let mut items = KVec::new();
            for _ in 0..3 {
                items.push(
                    Arc::pin_init(
                        pin_init!(Item { counted: Counted, work <- KthreadDelayedWork::new() }),
                        GFP_KERNEL,
                    )?,
                    GFP_KERNEL,
                )?;
                made += 1;
            }
            let items = Arc::new(items, GFP_KERNEL)?;
            let mut threads = KVec::new();
            for _ in 0..3 {
                let (items, worker) = (items.clone(), worker.clone());
                threads.push(
                    kthread::spawn(c"fuzz", move |_| {
                        for _ in 0..300 {
                            step(&worker, &items[random() as usize % 3], false);
                        }
                    })?,
                    GFP_KERNEL,
                )?;
            }
            drop(worker);
            for thread in threads {
                thread.join()?;
            }
        }
        fsleep(Delta::from_millis(500));
        pr_info!("workfuzz: {made} made, {} dropped\n", DROPPED.load(Relaxed));
        Ok(M)
    }
}
