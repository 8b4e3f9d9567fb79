// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Uses killable waits in an init that is killed, uses the handles again, and lets the init
//! fail.
//!
//! After SIGKILL, each killable or timed wait returns `EINTR`, and `join` and `stop` return the
//! handle with it. The init then detaches, leaks and stops the threads, and fails. The task
//! that tears the detached and leaked objects down has a fatal signal pending.
//!
//! A sound library returns `EINTR` from each wait, ends all threads, and drops each payload
//! once.
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Full},
        Arc,
    },
    time::{delay::fsleep, Delta},
};
use tether::kthread::{self, Builder, Exit};
module! { type: Waits, name: "killedwaits", authors: ["h"], description: "attack", license: "GPL", }
static LIVE: Atomic<i32> = Atomic::new(0);
struct Canary;
impl Canary {
    fn new() -> Self {
        LIVE.fetch_add(1, Full);
        Canary
    }
}
impl Drop for Canary {
    fn drop(&mut self) {
        match LIVE.fetch_sub(1, Full) {
            1 => pr_info!("killedwaits: none left\n"),
            n if n <= 0 => pr_err!("killedwaits: BAD: dropped twice\n"),
            _ => {}
        }
    }
}
struct Waits;
impl kernel::Module for Waits {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let worker = Arc::new(Builder::new(c"killedwaits-w").worker(module)?, GFP_KERNEL)?;
        let keep = Canary::new();
        // Ignores the request to stop for four seconds.
        let deaf = || {
            let canary = Canary::new();
            Builder::new(c"killedwaits-t")
                .parkable()
                .spawn(move |context| {
                    fsleep(Delta::from_secs(4));
                    while !context.sleep().is_stopped() {}
                    canary
                })
        };
        let (first, second, third, fourth) = (deaf()?, deaf()?, deaf()?, deaf()?);
        worker.try_spawn(GFP_KERNEL, |_| fsleep(Delta::from_secs(5)))?;
        pr_info!("killedwaits: waiting\n");
        let first = match first.join_killable() {
            Err(refused) if refused.error == EINTR => refused.item,
            _ => return Err(EBUSY),
        };
        pr_info!("killedwaits: killed\n");
        let mut wrong = 0;
        wrong += i32::from(second.park_killable() != Err(EINTR));
        wrong += i32::from(second.park_timeout(Delta::from_secs(9)) != Err(EINTR));
        wrong += i32::from(worker.flush_killable() != Err(EINTR));
        wrong += i32::from(worker.flush_timeout(Delta::from_secs(9)) != Err(EINTR));
        let third = match third.stop_killable() {
            Err(refused) if refused.error == EINTR => refused.item,
            _ => return Err(EBUSY),
        };
        let third = match third.stop_timeout(Delta::from_secs(9)) {
            Err(refused) if refused.error == EINTR => refused.item,
            _ => return Err(EBUSY),
        };
        let canary = Canary::new();
        match kthread::spawn(c"killedwaits-n", move |_| drop(canary)) {
            Ok(thread) => drop(thread),
            Err(refused) => pr_info!("killedwaits: spawn: {:?}\n", refused.error),
        }
        pr_info!("killedwaits: wrong answers {wrong}\n");
        first.detach().map_err(|refused| refused.error)?;
        core::mem::forget(second);
        match third.stop() {
            Ok(Exit::Returned(canary)) => drop(canary),
            _ => pr_err!("killedwaits: BAD: no result\n"),
        }
        fourth.request_stop();
        fourth.detach().map_err(|refused| refused.error)?;
        core::mem::forget(worker);
        drop(keep);
        Err(ENODEV)
    }
}
