// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! An init that fails, while a thread detaches threads that were not started.
// what it attacks: between MODULE_STATE_GOING and the module notifier, for as long as synchronize_rcu() takes, the owner
// is open, and pins are possible as long as there is one already. A wait with a limit asks all attachments then
// (`request_all_in_exit()`), which gives up a thread that was not started. `start()` and `detach()` of that one succeed:
// nobody ends it, and its pin is never dropped.
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
    task_work::{self, Mode},
};
module! {
    type: M, name: "detachnever", authors: ["h"], description: "attack", license: "GPL",
    params: { target: i32 { default: 0, description: "a task that sleeps", }, },
}
static DONE: Atomic<bool> = Atomic::new(false);
struct M;
impl kernel::Module for M {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let target = pid::find_task(module_parameters::target.value()).ok_or(ESRCH)?;
        // A pin, so that more are possible when the init has failed.
        task_work::add_fn(&target, |_| (), Mode::None, GFP_KERNEL)?;
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
        // Makes synchronize_rcu() take a while.
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
                        pr_info!("detachnever: detached one that was given up\n");
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
