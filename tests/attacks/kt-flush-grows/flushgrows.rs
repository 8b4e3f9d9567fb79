// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Flushes a worker 8000 times with a limit of zero, while the worker runs a long work.
//!
//! Each flush enqueues a work of Tether's own. If a flush that times out left this work in the
//! queue, each call would leak memory until the worker continues.
//!
//! A sound library takes the work back: the slab does not grow by more than 600 kB.
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
    time::{delay::fsleep, Delta},
};
use tether::kthread::Builder;
module! { type: M, name: "flushgrows", authors: ["h"], description: "attack", license: "GPL", }
struct M;
impl kernel::Module for M {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let worker = Builder::new(c"flushgrows").worker(module)?;
        let done = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let seen = done.clone();
        worker.try_spawn(GFP_KERNEL, move |_| {
            while seen.load(Relaxed) == 0 {
                fsleep(Delta::from_millis(20));
            }
        })?;
        fsleep(Delta::from_millis(100));
        let mut errors = 0u32;
        for _ in 0..8_000u32 {
            if worker.flush_timeout(Delta::from_nanos(0)) == Err(ETIMEDOUT) {
                errors += 1;
            }
        }
        pr_info!("flushgrows: {errors} times out\n");
        fsleep(Delta::from_secs(4));
        done.store(1, Relaxed);
        worker.flush()?;
        Ok(M)
    }
}
