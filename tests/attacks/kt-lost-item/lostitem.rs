// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Calls `flush_work()` and `cancel()` at the same time for an item that runs and is pending.
//!
//! `flush_work()` ends the delay of the item, which is pending again while it runs. If a
//! library took the item out of the queue for this and enqueued it again after the run, a
//! `cancel()` that waits meanwhile could make the second step fail with `EBUSY`. The item would
//! be dropped, although it has not run and `cancel()` reports that it was not pending.
//!
//! A sound library runs the item or returns it from `cancel()`.
use kernel::{
    cpu::CpuId,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
    time::{delay::fsleep, Delta},
};
use tether::kthread::{worker::*, Builder, Policy};
module! { type: Lost, name: "lostitem", authors: ["h"], description: "attack", license: "GPL", }
static RUNS: Atomic<i32> = Atomic::new(0);
#[pin_data]
struct Item {
    #[pin]
    late: KthreadDelayedWork<Item>,
}
impl_has_kthread_delayed_work! { impl HasKthreadDelayedWork<Self> for Item { self.late } }
impl KthreadWorkItem for Item {
    type Pointer = Arc<Item>;
    fn run(this: Arc<Item>, context: &WorkContext<'_>) {
        if RUNS.fetch_add(1, Relaxed) == 0 {
            let _ = context.queue().enqueue_delayed(this, 1_000_000);
            fsleep(Delta::from_secs(2));
        }
    }
}
struct Lost;
impl kernel::Module for Lost {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let cpu = CpuId::from_u32(0).ok_or(EINVAL)?;
        let worker = Arc::new(
            Builder::new(c"lostitem-w")
                .bind(cpu)
                .policy(Policy::Fifo)
                .worker(module)?,
            GFP_KERNEL,
        )?;
        let item = Arc::pin_init(
            pin_init!(Item { late <- KthreadDelayedWork::new() }),
            GFP_KERNEL,
        )?;
        worker.enqueue_delayed(item.clone(), 0)?;
        while RUNS.load(Relaxed) == 0 {
            fsleep(Delta::from_millis(1));
        }
        fsleep(Delta::from_millis(200));
        let (own, it) = (worker.clone(), item.clone());
        let flusher = Builder::new(c"lostitem-f")
            .bind(cpu)
            .policy(Policy::FifoLow)
            .spawn(move |_| own.flush_work(&it).is_ok())?;
        fsleep(Delta::from_millis(400));
        let (own, it) = (worker.clone(), item.clone());
        let canceller = Builder::new(c"lostitem-c")
            .bind(cpu)
            .policy(Policy::Normal { nice: 19 })
            .spawn(move |_| matches!(own.cancel(&it), Ok(Some(_))))?;
        let flushed = flusher.join()?;
        let cancelled = canceller.join()?;
        let runs = RUNS.load(Relaxed);
        pr_info!("lostitem: flushed {flushed}, given back {cancelled}, runs {runs}\n");
        if runs < 2 && !cancelled && worker.cancel(&item)?.is_none() {
            pr_err!("lostitem: BAD: the pending item neither ran nor came back\n");
        }
        Ok(Lost)
    }
}
