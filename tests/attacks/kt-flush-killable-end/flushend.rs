// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Calls `flush_killable()` in a thread while the module of the worker is removed.
//!
//! The flush waits for a work of Tether's own behind a work of three seconds. If the teardown
//! of the worker dropped the work of the flush, no event would end the wait, since a kernel
//! thread cannot be killed.
//!
//! A sound library returns from the flush, with an error or after the works have run, and
//! `rmmod` succeeds.
use kernel::{
    prelude::*,
    sync::Arc,
    time::{delay::fsleep, Delta},
};
use tether::kthread::{self, Builder};

module! { type: FlushEnd, name: "flushend", authors: ["h"], description: "attack", license: "GPL", }

struct FlushEnd;
impl kernel::Module for FlushEnd {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let worker = Arc::new(Builder::new(c"flushend-w").worker(module)?, GFP_KERNEL)?;
        // This work still runs when the module is removed, and returns after three seconds.
        worker.try_spawn(GFP_KERNEL, |_| fsleep(Delta::from_secs(3)))?;
        let flushed = worker.clone();
        core::mem::forget(kthread::spawn(c"flushend-t", move |_| {
            pr_info!("flushend: flushing\n");
            pr_info!("flushend: flushed: {:?}\n", flushed.flush_killable());
        })?);
        fsleep(Delta::from_millis(300));
        Ok(FlushEnd)
    }
}
