// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Fails an init while a thread of the module starts and detaches threads.
//!
//! After the init has failed, the kernel sets `MODULE_STATE_GOING` and calls synchronize_rcu()
//! before it calls the module notifiers. In between, the owner is still open, and a task can take
//! a pin because another pin exists. A timed wait in this state requests all attachments to end,
//! which gives up a thread that was created and not started: its body will not run. If start()
//! and detach() of such a thread succeeded, no task would drop the pin that detach() takes, and
//! `insmod` would not return.
//!
//! A sound library refuses to detach a thread that was given up, with `ENODEV`, and `insmod`
//! returns with the error of the init.
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        rcu,
    },
    time::{
        delay::{fsleep, udelay},
        Delta,
    },
};
use tether::{
    kthread::{self, Builder},
    pid,
    task_work::{self, NotifyMode},
};
module! {
    type: M, name: "detachnever", authors: ["h"], description: "attack", license: "GPL",
    params: { target: i32 { default: 0, description: "the pid of a sleeping task", }, },
}
static DONE: Atomic<bool> = Atomic::new(false);
struct M;
impl kernel::Module for M {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let target = pid::find_task(module_parameters::target.value()).ok_or(ESRCH)?;
        // Take a pin: after the init has failed, another pin can only be taken while a pin exists.
        task_work::add_fn(&target, |_| (), NotifyMode::None, GFP_KERNEL)?;
        let slow = kthread::spawn(c"dn-slow", |_| {
            while !DONE.load(Relaxed) {
                fsleep(Delta::from_millis(2));
            }
        })?;
        core::mem::forget(kthread::spawn(c"dn-polls", move |_| {
            let mut slow = slow;
            loop {
                match slow.join_timeout(Delta::from_micros(1)) {
                    Ok(()) => break,
                    Err(refused) if refused.error == ETIMEDOUT => slow = refused.item,
                    Err(_) => break,
                }
            }
        })?);
        // Stay in RCU read-side sections, so that synchronize_rcu() takes longer.
        core::mem::forget(kthread::spawn(c"dn-rcu", |context| {
            while !context.should_stop() && !DONE.load(Relaxed) {
                let guard = rcu::read_lock();
                for _ in 0..30 {
                    udelay(Delta::from_micros(1000));
                }
                drop(guard);
                fsleep(Delta::from_micros(200));
            }
        })?);
        core::mem::forget(kthread::spawn(c"dn-detaches", |_| {
            loop {
                let unstarted = match Builder::new(c"dn-never")
                    .create(|context| while !context.sleep().is_stopped() {})
                {
                    Ok(unstarted) => unstarted,
                    Err(refused) => {
                        pr_info!("detachnever: missed: {:?}\n", refused.error);
                        break;
                    }
                };
                fsleep(Delta::from_millis(5));
                let thread = unstarted.start();
                if !thread.is_finished() {
                    continue;
                }
                match thread.detach() {
                    Ok(()) => {
                        pr_info!("detachnever: detached a thread that was given up\n");
                        break;
                    }
                    Err(refused) => pr_info!("detachnever: refused: {:?}\n", refused.error),
                }
            }
            DONE.store(true, Relaxed);
        })?);
        fsleep(Delta::from_millis(100));
        Err(EIO)
    }
}
