// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Adds works to the threads of a process that executes programs all the time.
//!
//! The threads are killed by the thread that executes. The callbacks use the address space, call
//! the leader of the process and wait for it, add themselves again, and call `in_each_thread()`
//! for their own process.
//!
//! A sound library does not crash, the process can be killed, and `rmmod` succeeds.
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
        Arc,
    },
    task::Task,
    time::{delay::fsleep, Delta},
};
use tether::{
    impl_has_task_work,
    kthread::{self, Thread},
    pid,
    task_work::{self, Context, NotifyMode, Ordered, TaskWork, TaskWorkItem},
};
module! {
    type: M, name: "execeach", authors: ["h"], description: "attack", license: "GPL",
    params: { target: i32 { default: 0, description: "the pid of the process", }, },
}
static CALLED: Atomic<i32> = Atomic::new(0);
static EXITING: Atomic<i32> = Atomic::new(0);
static NO_MM: Atomic<i32> = Atomic::new(0);
#[pin_data]
struct Item {
    #[pin]
    work: TaskWork<Item>,
}
impl_has_task_work! { impl HasTaskWork<Self> for Item { self.work } }
impl TaskWorkItem for Item {
    type Pointer = Arc<Item>;
    fn run(_: Arc<Item>, context: &Context<'_>) {
        inside(context);
    }
}
fn inside(context: &Context<'_>) {
    let n = CALLED.fetch_add(1, Relaxed);
    if context.is_exiting() {
        EXITING.fetch_add(1, Relaxed);
    }
    if context.mm().is_none() {
        NO_MM.fetch_add(1, Relaxed);
    }
    let leader: ARef<Task> = context.task().group_leader().into();
    match n % 4 {
        0 => {
            if let Ok(call) = task_work::call(
                &leader,
                |it| it.task().pid(),
                NotifyMode::Signal,
                GFP_KERNEL,
            ) {
                if let Err(refused) = call.wait_timeout(Delta::from_millis(5)) {
                    drop(refused.item.cancel());
                }
            }
        }
        1 => {
            if let Ok(func) = Arc::new(
                |_: &Context<'_>| {
                    CALLED.fetch_add(1, Relaxed);
                },
                GFP_KERNEL,
            ) {
                let _ = task_work::in_each_thread(context.task(), &func, Delta::from_millis(5));
            }
        }
        2 => drop(task_work::add_fn(
            context.task(),
            |_| {
                CALLED.fetch_add(1, Relaxed);
            },
            NotifyMode::Resume,
            GFP_KERNEL,
        )),
        _ => {}
    }
}
struct M {
    _threads: [Thread<()>; 2],
}
impl kernel::Module for M {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let target = module_parameters::target.value();
        let each = kthread::spawn(c"execeach-1", move |context| {
            let (mut ok, mut error) = (0u32, 0u32);
            let Ok(func) = Arc::new(|it: &Context<'_>| inside(it), GFP_KERNEL) else {
                return;
            };
            while !context.sleep_for(Delta::from_millis(2)).is_stopped() {
                let Some(leader) = pid::find_task(target) else {
                    continue;
                };
                match task_work::in_each_thread(&leader, &func, Delta::from_millis(300)) {
                    Ok(_) => ok += 1,
                    Err(_) => error += 1,
                }
            }
            pr_info!("execeach: each: {ok} {error}\n");
        })?;
        let items = kthread::spawn(c"execeach-2", move |context| {
            let (mut added, mut refused) = (0u32, 0u32);
            let mut kept: Option<(ARef<Task>, Arc<Item>)> = None;
            while !context.should_stop() {
                fsleep(Delta::from_micros(500));
                let Some(leader) = pid::find_task(target) else {
                    continue;
                };
                let Ok(item) =
                    Arc::pin_init(pin_init!(Item { work <- TaskWork::new() }), GFP_KERNEL)
                else {
                    continue;
                };
                let result = if added % 2 == 0 {
                    task_work::add(&leader, item.clone(), NotifyMode::Signal)
                } else {
                    let Ok(queue) = Ordered::new(&leader, NotifyMode::Signal) else {
                        continue;
                    };
                    let _ = queue.add_fn(|it| inside(it), GFP_KERNEL);
                    queue.add(item.clone())
                };
                match result {
                    Ok(()) => added += 1,
                    Err(_) => refused += 1,
                }
                if let Some((task, item)) = kept.replace((leader, item)) {
                    if added % 3 == 0 {
                        drop(task_work::cancel(&task, &item));
                    } else {
                        let _ = task_work::wait_timeout(&item, Delta::from_millis(1));
                    }
                }
            }
            pr_info!("execeach: items: {added} {refused}\n");
        })?;
        Ok(M {
            _threads: [each, items],
        })
    }
}
impl Drop for M {
    fn drop(&mut self) {
        pr_info!(
            "execeach: called {}, exiting {}, without mm {}\n",
            CALLED.load(Relaxed),
            EXITING.load(Relaxed),
            NO_MM.load(Relaxed)
        );
    }
}
