// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Attacks a pending item by `flush_work()` and `cancel()` at the same time.
// what it attacks: the item runs and is pending as well. `flush_work()` takes it out of the queue, to end
// its delay, and enqueues it again when it has run. A `cancel()` that still waits then refuses that with
// EBUSY, and the item is dropped: it does not run, and `cancel()` says that it was not pending.
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
