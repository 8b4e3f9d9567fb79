// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! An init that fails while many tasks run its callbacks.
// what it attacks: the end of a module interrupts the first 16 callbacks of its that are recorded, and the same ones
// again a second later; there are 128 records. form 0: each of them waits for a stopped task. form 1: one of them waits
// for it, the others wait for a lock that this one holds.
use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex},
    time::{delay::fsleep, Delta},
};
use tether::{
    pid,
    task_work::{self, Mode},
};
module! {
    type: M, name: "imuse", authors: ["h"], description: "attack", license: "GPL",
    params: {
        first: i32 { default: 0, description: "the first task that runs a callback", },
        last: i32 { default: 0, description: "the last one", },
        stopped: i32 { default: 0, description: "the task that is waited for", },
        form: i32 { default: 0, description: "what they wait for", },
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
                Mode::Signal,
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
