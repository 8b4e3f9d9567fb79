// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Adds, cancels and drops task works in a timer interrupt, while a thread does the same.
//!
//! The list of the task and two queues share three items. Queues and handles are dropped in the
//! interrupt, and callbacks add closures.
//!
//! A sound library drops each payload exactly once, and `rmmod` succeeds.
use kernel::{
    impl_has_hr_timer, new_spinlock_irq,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Full, Relaxed},
        Arc, ArcBorrow, SpinLockIrq,
    },
    task::Task,
    time::{
        hrtimer::{
            HrTimer, HrTimerCallback, HrTimerCallbackContext, HrTimerPointer, HrTimerRestart,
            RelativeMode,
        },
        Delta, Monotonic,
    },
};
use tether::{
    impl_has_task_work,
    kthread::{self, Thread},
    pid,
    task_work::{self, Context, NotifyMode, Ordered, TaskWork, TaskWorkItem},
};
module! {
    type: M, name: "twstorm", authors: ["h"], description: "attack", license: "GPL",
    params: { target: i64 { default: 0, description: "pid", }, },
}
static LIVE: Atomic<i32> = Atomic::new(0);
static RUNS: Atomic<i32> = Atomic::new(0);
static ADDS: Atomic<i32> = Atomic::new(0);
static CANCELS: Atomic<i32> = Atomic::new(0);
struct Canary(#[allow(dead_code)] KBox<[u8; 64]>);
impl Canary {
    fn new(flags: kernel::alloc::Flags) -> Result<Self> {
        let memory = KBox::new([0x5au8; 64], flags)?;
        LIVE.fetch_add(1, Full);
        Ok(Canary(memory))
    }
}
impl Drop for Canary {
    fn drop(&mut self) {
        if LIVE.fetch_sub(1, Full) <= 0 {
            pr_err!("twstorm: BAD: dropped twice\n");
        }
    }
}
#[pin_data]
struct Item {
    #[pin]
    work: TaskWork<Item>,
    #[allow(dead_code)]
    canary: Canary,
}
impl_has_task_work! { impl HasTaskWork<Self> for Item { self.work } }
impl TaskWorkItem for Item {
    type Pointer = Arc<Item>;
    fn run(this: Arc<Item>, context: &Context<'_>) {
        RUNS.fetch_add(1, Relaxed);
        if task_work::add(context.task(), this, NotifyMode::Resume).is_ok() {
            pr_err!("twstorm: BAD: added in its own callback\n");
        }
        if let Ok(canary) = Canary::new(GFP_KERNEL) {
            let _ = task_work::add_fn(
                context.task(),
                |_| drop(canary),
                NotifyMode::Resume,
                GFP_KERNEL,
            );
        }
    }
}
fn step(n: i32, task: &Task, items: &[Arc<Item>; 3], queue: &Arc<Ordered>) {
    let item = &items[n as usize % 3];
    let added = match n / 3 % 5 {
        0 => queue.add(item.clone()).is_ok(),
        1 => task_work::add(task, item.clone(), NotifyMode::Signal).is_ok(),
        2 => {
            if let task_work::Cancel::Cancelled(_) = task_work::cancel(task, item) {
                CANCELS.fetch_add(1, Relaxed);
            }
            false
        }
        3 => match Canary::new(GFP_ATOMIC) {
            Ok(canary) => match queue.add_fn(move |_| drop(canary), GFP_ATOMIC) {
                Ok(pending) => {
                    if n % 2 == 0 {
                        drop(pending.cancel());
                    }
                    true
                }
                Err(_) => false,
            },
            Err(_) => false,
        },
        _ => queue.add(items[0].clone()).is_ok(),
    };
    if added {
        ADDS.fetch_add(1, Relaxed);
    }
}
#[pin_data]
struct Irq {
    #[pin]
    timer: HrTimer<Self>,
    task: ARef<Task>,
    items: [Arc<Item>; 3],
    queue: Arc<SpinLockIrq<Option<Arc<Ordered>>>>,
    n: Atomic<i32>,
}
impl HrTimerCallback for Irq {
    type Pointer<'a> = Arc<Self>;
    fn run(this: ArcBorrow<'_, Self>, mut c: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        let n = this.n.fetch_add(7, Relaxed);
        // This is often the last reference to the queue.
        let queue = this.queue.lock().take();
        if let Some(queue) = queue {
            step(n, &this.task, &this.items, &queue);
        }
        c.forward_now(Delta::from_micros(37));
        HrTimerRestart::Restart
    }
}
impl_has_hr_timer! {
    impl HasHrTimer<Self> for Irq { mode: RelativeMode<Monotonic>, field: self.timer }
}
struct M {
    _thread: Thread<()>,
}
fn item() -> Result<Arc<Item>> {
    Arc::try_pin_init(
        try_pin_init!(Item { work <- TaskWork::new(), canary: Canary::new(GFP_KERNEL)? }),
        GFP_KERNEL,
    )
}
impl kernel::Module for M {
    fn init(_: &'static ThisModule) -> Result<Self> {
        let task = pid::find_task(module_parameters::target.value() as i32).ok_or(ESRCH)?;
        let items = [item()?, item()?, item()?];
        let slot = Arc::pin_init(new_spinlock_irq!(None::<Arc<Ordered>>), GFP_KERNEL)?;
        let (t, i, s) = (task.clone(), items.clone(), slot.clone());
        let irq = Arc::pin_init(
            pin_init!(Irq {
                timer <- HrTimer::new(), task: t, items: i, queue: s, n: Atomic::new(1),
            }),
            GFP_KERNEL,
        )?;
        let timer = irq.start(Delta::from_micros(50));
        let thread = kthread::spawn(c"twstorm", move |context| {
            for n in 0..120_000 {
                if n % 16 == 0 {
                    if let Ok(queue) = Ordered::new(&task, NotifyMode::Resume) {
                        let old = slot.lock().replace(queue);
                        drop(old);
                    }
                }
                let queue = slot.lock().clone();
                if let Some(queue) = queue {
                    step(n, &task, &items, &queue);
                }
                if n % 64 == 0 {
                    let time = Delta::from_millis(5);
                    let _ = task_work::wait_timeout(&items[n as usize % 3], time);
                }
                if n % 256 == 0 && context.sleep_for(Delta::from_micros(30)).is_stopped() {
                    break;
                }
            }
            drop(timer);
            drop(slot.lock().take());
            pr_info!(
                "twstorm: added {}, ran {}, cancelled {}\n",
                ADDS.load(Relaxed),
                RUNS.load(Relaxed),
                CANCELS.load(Relaxed)
            );
        })?;
        Ok(M { _thread: thread })
    }
}
impl Drop for M {
    fn drop(&mut self) {
        pr_info!("twstorm: left at the end: {}\n", LIVE.load(Relaxed));
    }
}
