// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Calls closures in two tasks, passes the handles to `racekeep.ko`, and fails.
//!
//! `racekeep_code.rs` describes the misuse and the expected answer.
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
    },
    time::{delay::fsleep, Delta},
};
use tether::{
    pid,
    task_work::{self, NotifyMode, Ordered},
};
module! {
    type: Make, name: "racemake", authors: ["h"], description: "attack", license: "GPL",
    params: {
        stopped: i32 { default: 0, description: "the pid of a stopped task", },
        running: i32 { default: 0, description: "the pid of a running task", },
    },
}
static LIVE: Atomic<i32> = Atomic::new(0);
struct Slow(KBox<u64>);
impl Slow {
    fn new() -> Result<Self> {
        LIVE.fetch_add(1, Relaxed);
        Ok(Slow(KBox::new(0x1234_5678, GFP_KERNEL)?))
    }
}
impl Drop for Slow {
    #[inline(never)]
    fn drop(&mut self) {
        if *self.0 != 0x1234_5678 {
            pr_err!("racemake: BUG: dropped twice\n");
        }
        *self.0 = 0;
        LIVE.fetch_sub(1, Relaxed);
    }
}
struct Make;
impl kernel::Module for Make {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let stopped = pid::find_task(module_parameters::stopped.value()).ok_or(ESRCH)?;
        let running = pid::find_task(module_parameters::running.value()).ok_or(ESRCH)?;
        let queue = Ordered::new(&running, NotifyMode::Signal)?;
        for n in 0..600u64 {
            let slow = Slow::new()?;
            let target = match n % 3 {
                0 => running.clone(),
                1 => stopped.clone(),
                _ => ARef::from(&**kernel::current!()),
            };
            let call = task_work::call(&target, move |_| *slow.0, NotifyMode::Signal, GFP_KERNEL);
            if let Ok(call) = call {
                racekeep::racekeep_keep(call);
            }
            if n % 5 == 0 {
                let slow = Slow::new()?;
                let _ = queue.add_fn(move |_| drop(slow), GFP_KERNEL);
            }
            if n == 300 {
                fsleep(Delta::from_micros(300));
            }
        }
        Err(EIO)
    }
}
