// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Fails an init while its callbacks sleep in up to 190 tasks.
//!
//! * `form=0`: each callback waits for a closure of `imask.ko` in a stopped task.
//! * `form=1`: the first callback does so with a lock held, and the others wait for the lock.
//!
//! If teardown interrupted only some of the callbacks, or the same callbacks again each time,
//! `insmod` would wait as long as the task is stopped.
//!
//! A sound library interrupts all callbacks in its table of running callbacks, which has 1024
//! records: `insmod` returns with the error of the init.
use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex},
    time::{delay::fsleep, Delta},
};
use tether::{
    pid,
    task_work::{self, NotifyMode},
};
module! {
    type: M, name: "imuse", authors: ["h"], description: "attack", license: "GPL",
    params: {
        first: i32 { default: 0, description: "the first pid of a task that runs a callback", },
        last: i32 { default: 0, description: "the last such pid", },
        stopped: i32 { default: 0, description: "the pid of a stopped task", },
        form: i32 { default: 0, description: "0: wait for the task, 1: wait for a lock", },
    },
}
#[pin_data]
struct Slot {
    #[pin]
    lock: Mutex<u32>,
}
struct M;
impl kernel::Module for M {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let slot = Arc::pin_init(pin_init!(Slot { lock <- new_mutex!(0) }), GFP_KERNEL)?;
        let form = module_parameters::form.value();
        let (first, last) = (
            module_parameters::first.value(),
            module_parameters::last.value(),
        );
        let mut count = 0;
        for number in first..=last {
            let stopped = pid::find_task(module_parameters::stopped.value()).ok_or(ESRCH)?;
            let Some(target) = pid::find_task(number) else {
                continue;
            };
            let slot = slot.clone();
            task_work::add_fn(
                &target,
                move |_| {
                    if form == 0 {
                        let _ = imask::imask_ask(&stopped);
                        return;
                    }
                    let mut guard = slot.lock.lock();
                    *guard += 1;
                    if *guard == 1 {
                        let _ = imask::imask_ask(&stopped);
                    }
                },
                NotifyMode::Signal,
                GFP_KERNEL,
            )?;
            if count == 0 {
                fsleep(Delta::from_millis(300));
            }
            count += 1;
        }
        fsleep(Delta::from_millis(1500));
        pr_info!("imuse: form {form}: done: {count}\n");
        Err(EIO)
    }
}
