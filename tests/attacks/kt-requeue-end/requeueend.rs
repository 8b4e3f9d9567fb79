// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Removes a module while works of two workers requeue, delay, cancel and flush each other.
//!
//! Leaked threads enqueue, modify, cancel and flush the same items at the same time, and timers
//! of delayed items fire during the teardown of the workers.
//!
//! A sound library drops each item exactly once, and `rmmod` returns at any moment.
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        Arc,
    },
    time::Delta,
};
use tether::kthread::{self, worker::*, Builder};
module! { type: Requeue, name: "requeueend", authors: ["h"], description: "attack", license: "GPL", }

static LIVE: Atomic<i32> = Atomic::new(0);
static TURN: Atomic<i32> = Atomic::new(0);
struct Canary;
#[pin_data]
struct Item {
    _canary: Canary,
    others: Arc<KthreadWorker>,
    #[pin]
    plain: KthreadWork<Item, 0>,
    #[pin]
    late: KthreadDelayedWork<Item, 1>,
}
impl Drop for Canary {
    fn drop(&mut self) {
        match LIVE.fetch_sub(1, Full) {
            1 => pr_info!("requeueend: none left\n"),
            n if n <= 0 => pr_err!("requeueend: BAD: dropped twice\n"),
            _ => {}
        }
    }
}
impl_has_kthread_work! { impl HasKthreadWork<Self, 0> for Item { self.plain } }
impl_has_kthread_delayed_work! { impl HasKthreadDelayedWork<Self, 1> for Item { self.late } }
impl KthreadWorkItem<0> for Item {
    type Pointer = Arc<Item>;
    fn run(this: Arc<Item>, context: &WorkContext<'_>) {
        let queue = context.queue();
        match TURN.fetch_add(1, Relaxed) % 5 {
            0 => drop(queue.modify_delayed::<_, 1>(this.clone(), 0)),
            1 => drop(this.others.flush()),
            2 => drop(this.others.cancel::<_, 1>(&this)),
            3 => drop(queue.cancel::<_, 0>(&this)),
            _ => drop(queue.cancel::<_, 1>(&this)),
        }
        let _ = queue.enqueue::<_, 0>(this);
    }
}
impl KthreadWorkItem<1> for Item {
    type Pointer = Arc<Item>;
    fn run(this: Arc<Item>, context: &WorkContext<'_>) {
        let _ = this.others.flush_work::<_, 0>(&this);
        let _ = context.queue().enqueue_delayed::<_, 1>(this, 1);
    }
}
struct Requeue;
impl kernel::Module for Requeue {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let workers = [
            Arc::new(Builder::new(c"requeue-0").worker(module)?, GFP_KERNEL)?,
            Arc::new(
                Builder::new(c"requeue-1").freezable().worker(module)?,
                GFP_KERNEL,
            )?,
        ];
        for n in 0..6 {
            let (own, others) = (workers[n % 2].clone(), workers[(n + 1) % 2].clone());
            let item = Arc::pin_init(
                pin_init!(Item {
                    _canary: Canary,
                    others,
                    plain <- KthreadWork::new(),
                    late <- KthreadDelayedWork::new(),
                }),
                GFP_KERNEL,
            )?;
            LIVE.fetch_add(1, Full);
            let _ = own.enqueue::<_, 0>(item.clone());
            let _ = own.enqueue_delayed::<_, 1>(item.clone(), 1);
            core::mem::forget(kthread::spawn(c"requeue-t", move |context| {
                let mut n = n;
                while !context.sleep_for(Delta::from_millis(1)).is_stopped() {
                    n += 1;
                    match n % 7 {
                        0 => drop(own.flush()),
                        1 => drop(own.cancel::<_, 0>(&item)),
                        2 => drop(own.cancel::<_, 1>(&item)),
                        3 => drop(own.flush_work::<_, 0>(&item)),
                        4 => drop(own.flush_work::<_, 1>(&item)),
                        5 => drop(own.modify_delayed::<_, 1>(item.clone(), n % 3)),
                        _ => drop(own.flush_timeout(Delta::from_millis(2))),
                    }
                    let _ = own.enqueue::<_, 0>(item.clone());
                    let _ = own.enqueue_delayed::<_, 1>(item.clone(), n % 4);
                }
            })?);
        }
        Ok(Requeue)
    }
}
