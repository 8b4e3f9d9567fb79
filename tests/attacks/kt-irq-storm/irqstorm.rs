// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Calls threads and workers in a hard interrupt while a task uses them as well.
//!
//! The callback of an hrtimer calls the functions that may be called in any context, and also
//! those that may not. It drops handles of threads that run, have returned or were not started,
//! and of workers.
//!
//! A sound library returns `EDEADLK` where a call would sleep. Each payload is dropped exactly
//! once before the module is removed.
use kernel::{
    impl_has_hr_timer, new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        Arc, ArcBorrow, SpinLockIrq,
    },
    time::{
        delay::fsleep,
        hrtimer::{
            HrTimer, HrTimerCallback, HrTimerCallbackContext, HrTimerPointer, HrTimerRestart,
            RelativeMode,
        },
        Delta, Monotonic,
    },
};
use tether::kthread::{self, worker::*, Builder, Parkable, Policy, Thread, Unstarted};
module! { type: Storm, name: "irqstorm", authors: ["h"], description: "attack", license: "GPL", }

static LIVE: Atomic<i32> = Atomic::new(0);
static FIRED: Atomic<i32> = Atomic::new(0);
static DROPPED_IN_IRQ: Atomic<i32> = Atomic::new(0);
static WRONG: Atomic<i32> = Atomic::new(0);
struct Canary(#[allow(dead_code)] KBox<[u8; 64]>);
impl Canary {
    fn new() -> Result<Self> {
        let memory = KBox::new([0x5au8; 64], GFP_KERNEL)?;
        LIVE.fetch_add(1, Full);
        Ok(Canary(memory))
    }
}
impl Drop for Canary {
    fn drop(&mut self) {
        match LIVE.fetch_sub(1, Full) {
            1 => pr_info!("irqstorm: none left\n"),
            n if n <= 0 => pr_err!("irqstorm: BAD: dropped twice\n"),
            _ => {}
        }
    }
}
#[pin_data]
struct Item {
    #[pin]
    plain: KthreadWork<Item, 0>,
    #[pin]
    late: KthreadDelayedWork<Item, 1>,
    canary: Canary,
}
impl_has_kthread_work! { impl HasKthreadWork<Self, 0> for Item { self.plain } }
impl_has_kthread_delayed_work! { impl HasKthreadDelayedWork<Self, 1> for Item { self.late } }
impl KthreadWorkItem<0> for Item {
    type Pointer = Arc<Item>;
    fn run(this: Arc<Item>, context: &WorkContext<'_>) {
        let _ = &this.canary;
        let _ = context.queue().modify_delayed::<_, 1>(this, 0);
    }
}
impl KthreadWorkItem<1> for Item {
    type Pointer = Arc<Item>;
    fn run(this: Arc<Item>, context: &WorkContext<'_>) {
        let _ = context.queue().enqueue_delayed::<_, 1>(this, 1);
    }
}
#[allow(dead_code)]
enum Handle {
    Thread(Thread<Canary>),
    Unstarted(Unstarted<Canary>),
    Worker(KthreadWorker),
}
#[pin_data]
struct Irq {
    #[pin]
    timer: HrTimer<Self>,
    worker: Arc<KthreadWorker>,
    item: Arc<Item>,
    parkable: Arc<Thread<(), Parkable>>,
    held: Arc<SpinLockIrq<Option<Handle>>>,
}
fn wrong(is: bool) {
    if is {
        WRONG.fetch_add(1, Relaxed);
    }
}
impl HrTimerCallback for Irq {
    type Pointer<'a> = Arc<Self>;
    fn run(
        this: ArcBorrow<'_, Self>,
        mut context: HrTimerCallbackContext<'_, Self>,
    ) -> HrTimerRestart {
        let n = FIRED.fetch_add(1, Relaxed);
        let (worker, item, thread) = (&this.worker, &this.item, &this.parkable);
        match n % 8 {
            0 => drop(worker.enqueue::<_, 0>(item.clone())),
            1 => drop(worker.enqueue_delayed::<_, 1>(item.clone(), 1)),
            2 => drop(worker.modify_delayed::<_, 1>(item.clone(), (n % 3) as usize)),
            3 => drop(worker.cancel::<_, 1>(item)),
            4 => drop(worker.try_spawn(GFP_ATOMIC, |_| ())),
            5 => thread.unpark(),
            6 => thread.wake(),
            _ => {
                wrong(thread.park() != Err(EDEADLK) && !thread.is_parked());
                wrong(worker.flush() != Err(EDEADLK));
                wrong(worker.flush_killable() != Err(EDEADLK));
                wrong(worker.flush_work::<_, 0>(item) != Err(EDEADLK));
                wrong(thread.set_policy(Policy::Fifo) != Err(EDEADLK));
                wrong(kthread::spawn(c"irqstorm-no", |_| ()).is_ok());
                let _ = (thread.task().pid(), thread.waker().wake());
            }
        }
        let handle = this.held.lock().take();
        if let Some(handle) = handle {
            DROPPED_IN_IRQ.fetch_add(1, Relaxed);
            match handle {
                Handle::Thread(thread) => match (n / 8) % 4 {
                    0 => drop(thread),
                    1 => drop(thread.stop()),
                    2 => drop(thread.detach()),
                    _ => drop(thread.try_join()),
                },
                Handle::Unstarted(unstarted) if n % 2 == 0 => drop(unstarted.start()),
                handle => drop(handle),
            }
        }
        context.forward_now(Delta::from_micros(700));
        HrTimerRestart::Restart
    }
}
impl_has_hr_timer! {
    impl HasHrTimer<Self> for Irq { mode: RelativeMode<Monotonic>, field: self.timer }
}
struct Storm;
impl kernel::Module for Storm {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let worker = Arc::new(Builder::new(c"irqstorm-w").worker(module)?, GFP_KERNEL)?;
        let item = Arc::pin_init(
            try_pin_init!(Item {
                plain <- KthreadWork::new(),
                late <- KthreadDelayedWork::new(),
                canary: Canary::new()?,
            }),
            GFP_KERNEL,
        )?;
        let parkable = Arc::new(
            Builder::new(c"irqstorm-p").parkable().spawn(|context| {
                while !context.sleep_for(Delta::from_millis(3)).is_stopped() {}
            })?,
            GFP_KERNEL,
        )?;
        let slot = Arc::pin_init(new_spinlock_irq!(None::<Handle>), GFP_KERNEL)?;
        let (w, i, p, s) = (worker.clone(), item.clone(), parkable.clone(), slot.clone());
        let irq = Arc::pin_init(
            pin_init!(Irq {
                timer <- HrTimer::new(),
                worker: w,
                item: i,
                parkable: p,
                held: s,
            }),
            GFP_KERNEL,
        )?;
        let timer = irq.clone().start(Delta::from_micros(700));
        for n in 0..400 {
            let canary = Canary::new()?;
            let handle = match n % 4 {
                0 => Handle::Thread(kthread::spawn(c"irqstorm-t", move |context| {
                    while !context.sleep().is_stopped() {}
                    canary
                })?),
                1 => {
                    let thread = kthread::spawn(c"irqstorm-r", move |_| canary)?;
                    while n % 8 == 1 && !thread.is_finished() {
                        fsleep(Delta::from_micros(300));
                    }
                    Handle::Thread(thread)
                }
                2 => Handle::Unstarted(Builder::new(c"irqstorm-u").create(move |_| canary)?),
                _ => {
                    let own = Builder::new(c"irqstorm-w2").worker(module)?;
                    own.try_spawn(GFP_KERNEL, move |_| drop(canary))?;
                    Handle::Worker(own)
                }
            };
            let _ = parkable.park_timeout(Delta::from_millis(20));
            let old = slot.lock().replace(handle);
            match n % 5 {
                0 => drop(worker.flush()),
                1 => drop(worker.cancel::<_, 1>(&item)?),
                2 => worker.flush_work::<_, 1>(&item)?,
                3 => drop(worker.modify_delayed::<_, 1>(item.clone(), 2)),
                _ => drop(worker.flush_timeout(Delta::from_millis(10))),
            }
            drop(old);
        }
        drop(timer);
        core::mem::forget((worker, parkable));
        pr_info!(
            "irqstorm: fired {}, dropped in interrupts {}, wrong answers {}\n",
            FIRED.load(Relaxed),
            DROPPED_IN_IRQ.load(Relaxed),
            WRONG.load(Relaxed)
        );
        Ok(Storm)
    }
}
