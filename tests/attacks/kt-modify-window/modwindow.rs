// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Cancels an item that is always pending, while another thread modifies its delay.
//!
//! If `modify_delayed()` took the item out of the queue and enqueued it again in two steps,
//! `cancel()` would not find it in between, and `flush_work()` would not wait for it.
//!
//! A sound library returns the item from each `cancel()`.
use kernel::{
    cpu::CpuId,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, SetOnce,
    },
    time::{Delta, Instant, Monotonic},
};
use tether::kthread::{worker::*, Builder};
module! { type: M, name: "modwindow", authors: ["h"], description: "attack", license: "GPL", }
#[pin_data]
struct Item {
    runs: Atomic<u32>,
    #[pin]
    work: KthreadDelayedWork<Item>,
}
impl_has_kthread_delayed_work! { impl HasKthreadDelayedWork<Self> for Item { self.work } }
impl KthreadWorkItem for Item {
    type Pointer = Arc<Item>;
    fn run(this: Arc<Item>, _: &WorkContext<'_>) {
        this.runs.fetch_add(1, Relaxed);
    }
}
static WORKER: SetOnce<KthreadWorker> = SetOnce::new();
struct M;
impl kernel::Module for M {
    fn init(module: &'static ThisModule) -> Result<Self> {
        WORKER.populate(Builder::new(c"modwindow").worker(module)?);
        let worker = WORKER.as_ref().ok_or(EIO)?;
        let item = Arc::pin_init(
            pin_init!(Item { runs: Atomic::new(0), work <- KthreadDelayedWork::new() }),
            GFP_KERNEL,
        )?;
        worker.enqueue_delayed(item.clone(), 100_000)?;
        let other = item.clone();
        let modifier = Builder::new(c"modifier")
            .bind(CpuId::from_u32(1).ok_or(EINVAL)?)
            .spawn(move |context| {
                let mut n = 0u32;
                while !context.should_stop() {
                    if let Some(worker) = WORKER.as_ref() {
                        let _ = worker.modify_delayed(other.clone(), 100_000);
                    }
                    n += 1;
                    if n % 1000 == 0 {
                        context.sleep_for(Delta::from_millis(1));
                    }
                }
                n
            })?;
        let begin = Instant::<Monotonic>::now();
        let (mut found, mut missed) = (0u32, 0u32);
        while begin.elapsed().as_millis() < 5000 {
            // The item is pending here: this task or the modifier has enqueued it.
            match worker.cancel(&item)? {
                Some(item) => {
                    found += 1;
                    let _ = worker.enqueue_delayed(item, 100_000);
                }
                None => missed += 1,
            }
        }
        let n = modifier.stop()?;
        pr_info!("modwindow: modified {:?}, cancelled {found}, said that it was not pending: {missed}, runs {}\n", n, item.runs.load(Relaxed));
        let _ = worker.cancel(&item);
        Ok(M)
    }
}
