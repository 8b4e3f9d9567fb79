// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Cancels an item in its own callback, while it is pending again and other threads flush it.
//!
//! `cancel()` fails with `EDEADLK` there. A library that takes the item out of the queue first
//! has to put it back, and the item then runs behind the works with which `flush()` and
//! `flush_work()` wait for it.
//!
//! A sound library leaves the item in its place: both flushes return after the second run.
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, SetOnce,
    },
    time::{delay::fsleep, Delta},
};
use tether::kthread::{self, worker::*, Builder};
module! { type: M, name: "putback", authors: ["h"], description: "attack", license: "GPL", }
#[pin_data]
struct Item {
    runs: Atomic<u32>,
    go: Atomic<u32>,
    #[pin]
    work: KthreadWork<Item>,
}
impl_has_kthread_work! { impl HasKthreadWork<Self> for Item { self.work } }
impl KthreadWorkItem for Item {
    type Pointer = Arc<Item>;
    fn run(this: Arc<Item>, context: &WorkContext<'_>) {
        if this.runs.load(Relaxed) == 0 {
            while this.go.load(Relaxed) == 0 {
                fsleep(Delta::from_millis(10));
            }
            pr_info!(
                "putback: cancel: {:?}\n",
                context.queue().cancel(&this).map(|_| ())
            );
        } else {
            fsleep(Delta::from_millis(1000));
        }
        this.runs.fetch_add(1, Relaxed);
    }
}
static WORKER: SetOnce<KthreadWorker> = SetOnce::new();
struct M;
fn attack(by_work: bool) -> Result {
    let worker = WORKER.as_ref().ok_or(EIO)?;
    let item = Arc::pin_init(
        pin_init!(Item { runs: Atomic::new(0), go: Atomic::new(0), work <- KthreadWork::new() }),
        GFP_KERNEL,
    )?;
    worker.enqueue(item.clone())?;
    fsleep(Delta::from_millis(200));
    // The item is running; this call makes it pending as well.
    worker.enqueue(item.clone())?;
    let other = item.clone();
    let flusher = kthread::spawn(c"flusher", move |_| {
        let Some(worker) = WORKER.as_ref() else {
            return (Ok(()), 0);
        };
        let flushed = if by_work {
            worker.flush_work(&other)
        } else {
            worker.flush()
        };
        (flushed, other.runs.load(Relaxed))
    })?;
    fsleep(Delta::from_millis(300));
    item.go.store(1, Relaxed);
    let (flushed, runs) = flusher.join()?;
    pr_info!(
        "putback: {} returned {:?} after {runs} of 2 runs\n",
        if by_work { "flush_work" } else { "flush" },
        flushed
    );
    worker.flush()?;
    Ok(())
}
impl kernel::Module for M {
    fn init(module: &'static ThisModule) -> Result<Self> {
        WORKER.populate(Builder::new(c"putback").worker(module)?);
        attack(false)?;
        attack(true)?;
        Ok(M)
    }
}
