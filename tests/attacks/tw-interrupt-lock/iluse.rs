// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Fails an init while its callback sleeps with a lock held that other code of the module needs.
//!
//! The callback waits for a closure of `ilask.ko` in a stopped task. The lock is acquired by
//!
//! * a leaked thread (`form=0`),
//! * a work of a leaked worker (`form=1`), or
//! * the destructor of a pending closure, which teardown drops (`form=2`).
//!
//! If teardown waited for any of these before it has interrupted the callback, `insmod` would wait
//! as long as the task is stopped.
//!
//! A sound library interrupts the running callbacks first: `insmod` returns with the error of the
//! init.
use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex},
    time::{delay::fsleep, Delta},
};
use tether::{
    kthread::{self, Builder},
    pid,
    task_work::{self, NotifyMode},
};
module! {
    type: M, name: "iluse", authors: ["h"], description: "attack", license: "GPL",
    params: {
        target: i32 { default: 0, description: "the pid of the task that runs the callback", },
        stopped: i32 { default: 0, description: "the pid of a stopped task", },
        form: i32 { default: 0, description: "0: a thread locks, 1: a work, 2: a destructor", },
    },
}
#[pin_data]
struct Slot {
    #[pin]
    lock: Mutex<u32>,
}
struct Locks(Arc<Slot>);
impl Drop for Locks {
    fn drop(&mut self) {
        *self.0.lock.lock() += 1;
    }
}
struct M;
impl kernel::Module for M {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let target = pid::find_task(module_parameters::target.value()).ok_or(ESRCH)?;
        let stopped = pid::find_task(module_parameters::stopped.value()).ok_or(ESRCH)?;
        let form = module_parameters::form.value();
        let slot = Arc::pin_init(pin_init!(Slot { lock <- new_mutex!(0) }), GFP_KERNEL)?;
        let locked = slot.clone();
        let (other, pends) = (stopped.clone(), Locks(slot.clone()));
        task_work::add_fn(
            &target,
            move |_| {
                let _guard = locked.lock.lock();
                pr_info!("iluse: waited: {:?}\n", ilask::ilask_ask(&stopped));
            },
            NotifyMode::Signal,
            GFP_KERNEL,
        )?;
        fsleep(Delta::from_millis(500));
        match form {
            0 => core::mem::forget(kthread::spawn(c"iluse", move |context| loop {
                *pends.0.lock.lock() += 1;
                if context.sleep_for(Delta::from_millis(1)).is_stopped() {
                    break;
                }
            })?),
            1 => {
                let worker = Builder::new(c"iluse").worker(module)?;
                worker.try_spawn(GFP_KERNEL, move |_| drop(pends))?;
                core::mem::forget(worker);
            }
            _ => {
                task_work::add_fn(&other, move |_| drop(pends), NotifyMode::None, GFP_KERNEL)?;
            }
        }
        fsleep(Delta::from_millis(300));
        pr_info!("iluse: form {form}: done\n");
        Err(EIO)
    }
}
