// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Cancels an item that is pending all the time, while its delay is modified.
// what it attacks: `modify_delayed()` takes the item out of the queue and enqueues it again, in two steps. In between
// `cancel()` finds nothing, and `flush_work()` does not wait: `kthread_mod_delayed_work()` is one step.
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
            // It is pending here: by this task, or by the other one.
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
