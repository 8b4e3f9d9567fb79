// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Lets an init fail with a pending task work that has a destructor which waits.
//!
//! The teardown disarms the work and drops its item. The destructor joins a thread that runs
//! until it is asked to stop, or flushes a worker while the work of that worker waits for a
//! stopped task. If no thread was asked and no work interrupted before, the destructor would
//! not return.
//!
//! A sound library asks all threads and interrupts all works before it drops items: `insmod`
//! returns.
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use tether::{
    kthread::{self, worker::KthreadWorker, Builder, Thread},
    pid,
    task_work::{self, NotifyMode},
};
module! {
    type: M, name: "dwuse", authors: ["h"], description: "attack", license: "GPL",
    params: {
        stopped: i32 { default: 0, description: "a stopped task", },
        form: i32 { default: 0, description: "0: flush a worker, 1: join a thread", },
    },
}
struct Payload {
    thread: Option<Thread<()>>,
    worker: Option<KthreadWorker>,
}
impl Drop for Payload {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            pr_info!(
                "dwuse: joined: {:?}\n",
                thread.join().map_err(|refused| refused.error)
            );
        }
        if let Some(worker) = &self.worker {
            pr_info!("dwuse: flushed: {:?}\n", worker.flush());
        }
    }
}
struct M;
impl kernel::Module for M {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let stopped = pid::find_task(module_parameters::stopped.value()).ok_or(ESRCH)?;
        let mut payload = Payload {
            thread: None,
            worker: None,
        };
        if module_parameters::form.value() == 0 {
            let worker = Builder::new(c"dwuse").worker(module)?;
            let stopped = stopped.clone();
            worker.try_spawn(GFP_KERNEL, move |_| {
                pr_info!("dwuse: the work: {:?}\n", dwask::dwask_ask(&stopped));
            })?;
            payload.worker = Some(worker);
        } else {
            payload.thread = Some(kthread::spawn(c"dwuse", |context| {
                while !context.sleep().is_stopped() {}
            })?);
        }
        task_work::add_fn(
            &stopped,
            move |_| drop(payload),
            NotifyMode::None,
            GFP_KERNEL,
        )?;
        fsleep(Delta::from_millis(300));
        pr_info!("dwuse: fails\n");
        Err(EIO)
    }
}
