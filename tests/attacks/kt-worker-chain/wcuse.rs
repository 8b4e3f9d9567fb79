// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Removes a module in which works, threads and destructors wait for a younger worker.
//!
//! Module teardown ends attachments in the order of their creation, and the work of the younger
//! worker waits for a stopped task. If only the teardown of the younger worker interrupted this
//! work, an older object that waits for the worker would block the teardown before. `form`
//! selects this object:
//!
//! * 0: a work of an older worker, in `flush()`;
//! * 1: a leaked thread, in `flush()`;
//! * 2: a thread in the module's struct, in `flush()`;
//! * 3: a leaked thread, in `cancel()`;
//! * 4: the destructor of the result of a leaked thread, in `flush()`.
//!
//! A sound library interrupts the running works of all workers before it waits for the first
//! attachment: `rmmod` returns while the task is stopped.
use kernel::{
    prelude::*,
    sync::aref::ARef,
    sync::Arc,
    task::Task,
    time::{delay::fsleep, Delta},
};
use tether::{
    impl_has_kthread_work,
    kthread::{
        self,
        worker::{KthreadWork, KthreadWorkItem, KthreadWorker, WorkContext},
        Builder, Thread,
    },
    pid,
};
module! {
    type: M, name: "wcuse", authors: ["h"], description: "attack", license: "GPL",
    params: { target: i32 { default: 0, description: "the pid of a stopped task", }, form: i32 { default: 0, description: "the object that waits, 0 to 4", }, },
}
#[pin_data]
struct Item {
    stopped: ARef<Task>,
    #[pin]
    work: KthreadWork<Item>,
}
impl_has_kthread_work! { impl HasKthreadWork<Self> for Item { self.work } }
impl KthreadWorkItem for Item {
    type Pointer = Arc<Item>;
    fn run(this: Arc<Item>, _: &WorkContext<'_>) {
        pr_info!("wcuse: the work: {:?}\n", wcask::wcask_ask(&this.stopped));
    }
}
/// Flushes a worker when it is dropped.
struct Flusher(Arc<KthreadWorker>);
impl Drop for Flusher {
    fn drop(&mut self) {
        pr_info!("wcuse: destructor: {:?}\n", self.0.flush());
    }
}
struct M {
    _thread: Option<Thread<()>>,
    _worker: Option<Arc<KthreadWorker>>,
}
impl kernel::Module for M {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let stopped = pid::find_task(module_parameters::target.value()).ok_or(ESRCH)?;
        let form = module_parameters::form.value();
        let older = Builder::new(c"wcuse-old").worker(module)?;
        let slot: Arc<kernel::sync::SetOnce<(Arc<KthreadWorker>, Arc<Item>)>> =
            Arc::new(kernel::sync::SetOnce::new(), GFP_KERNEL)?;
        let get = slot.clone();
        let thread = match form {
            1 | 2 | 3 => Some(kthread::spawn(c"wcuse-t", move |context| loop {
                if let Some((worker, item)) = get.as_ref().as_ref() {
                    match form {
                        3 => pr_info!("wcuse: cancel: {:?}\n", worker.cancel(item).map(|_| ())),
                        _ => pr_info!("wcuse: flush: {:?}\n", worker.flush()),
                    }
                }
                if context.sleep_for(Delta::from_millis(10)).is_stopped() {
                    break;
                }
            })?),
            4 => {
                // The result owns the worker, and module teardown drops the result.
                core::mem::forget(kthread::spawn(c"wcuse-t", move |context| {
                    while !context.sleep().is_stopped() {}
                    get.as_ref()
                        .as_ref()
                        .map(|(worker, _)| Flusher(worker.clone()))
                })?);
                None
            }
            _ => None,
        };
        let worker = Arc::new(Builder::new(c"wcuse-new").worker(module)?, GFP_KERNEL)?;
        let item = Arc::pin_init(
            pin_init!(Item { stopped, work <- KthreadWork::new() }),
            GFP_KERNEL,
        )?;
        worker.enqueue(item.clone())?;
        fsleep(Delta::from_millis(300));
        slot.populate((worker.clone(), item));
        if form == 0 {
            let other = worker.clone();
            older.try_spawn(GFP_KERNEL, move |_| {
                pr_info!("wcuse: the older worker: {:?}\n", other.flush());
            })?;
        }
        fsleep(Delta::from_millis(300));
        core::mem::forget(older);
        core::mem::forget(slot);
        if form == 2 {
            // As in a usual driver, the module's struct owns the thread and the worker.
            return Ok(M {
                _thread: thread,
                _worker: Some(worker),
            });
        }
        core::mem::forget(thread);
        core::mem::forget(worker);
        Ok(M {
            _thread: None,
            _worker: None,
        })
    }
}
