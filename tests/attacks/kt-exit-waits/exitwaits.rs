// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Waits in the exit of a module for a work or a thread that waits itself.
//!
//! The exit calls flush() (`form=1`), flush_work() (2), cancel() (3) or park() (4), or drops its
//! handles only (0). The work or the thread that the exit waits for
//!
//! * waits for a closure of `ewask.ko` in a stopped task (`kind=0`), or
//! * parks another thread, which runs until it is requested to stop (`kind=1`).
//!
//! If a wait in the exit did not request the threads and workers of the module to stop, `rmmod`
//! would wait as long as the task is stopped (`kind=0`), or would not return (`kind=1`).
//!
//! A sound library requests all threads and workers to stop in each of these waits: `rmmod`
//! returns while the task is stopped.
use kernel::{
    prelude::*,
    sync::{aref::ARef, Arc},
    task::Task,
    time::{delay::fsleep, Delta},
};
use tether::{
    kthread::{worker::*, Builder, Parkable, Thread},
    pid,
};
module! {
    type: M, name: "exitwaits", authors: ["h"], description: "attack", license: "GPL",
    params: {
        form: i32 { default: 0, description: "the wait of the exit", },
        kind: i32 { default: 0, description: "0: wait for the stopped task, 1: park a thread", },
        stopped: i32 { default: 0, description: "the pid of a stopped task", },
    },
}
struct What {
    kind: i32,
    stopped: ARef<Task>,
    busy: Thread<(), Parkable>,
}
impl What {
    fn wait(&self) {
        let result = match self.kind {
            0 => ewask::ewask_ask(&self.stopped),
            _ => self.busy.park(),
        };
        pr_info!("exitwaits: inner wait: {result:?}\n");
    }
}
#[pin_data]
struct Item {
    what: Arc<What>,
    #[pin]
    work: KthreadWork<Item>,
}
impl_has_kthread_work! { impl HasKthreadWork<Self> for Item { self.work } }
impl KthreadWorkItem for Item {
    type Pointer = Arc<Item>;
    fn run(this: Arc<Item>, _: &WorkContext<'_>) {
        this.what.wait();
    }
}
struct M {
    form: i32,
    item: Arc<Item>,
    worker: KthreadWorker,
    thread: Thread<(), Parkable>,
}
impl kernel::Module for M {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let form = module_parameters::form.value();
        let what = Arc::new(
            What {
                kind: module_parameters::kind.value(),
                stopped: pid::find_task(module_parameters::stopped.value()).ok_or(ESRCH)?,
                busy: Builder::new(c"exitwaits-b").parkable().spawn(|context| {
                    while !context.should_stop() {
                        fsleep(Delta::from_millis(10));
                    }
                })?,
            },
            GFP_KERNEL,
        )?;
        let worker = Builder::new(c"exitwaits-w").worker(module)?;
        let it = what.clone();
        let item = Arc::pin_init(
            pin_init!(Item { what: it, work <- KthreadWork::new() }),
            GFP_KERNEL,
        )?;
        if form != 4 {
            worker.enqueue(item.clone())?;
        }
        let thread = Builder::new(c"exitwaits")
            .parkable()
            .spawn(move |context| {
                if form == 4 {
                    what.wait();
                }
                while !context.sleep().is_stopped() {}
            })?;
        fsleep(Delta::from_millis(300));
        Ok(M {
            form,
            item,
            worker,
            thread,
        })
    }
}
impl Drop for M {
    fn drop(&mut self) {
        let result = match self.form {
            1 => self.worker.flush(),
            2 => self.worker.flush_work(&self.item),
            3 => self.worker.cancel(&self.item).map(|_| ()),
            4 => self.thread.park(),
            _ => Ok(()),
        };
        pr_info!("exitwaits: form {}: {result:?}\n", self.form);
    }
}
