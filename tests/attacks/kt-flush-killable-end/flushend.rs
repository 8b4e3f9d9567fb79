// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Attacks the killable flush of a worker that ends together with its module.
// what it attacks: `flush_killable()` waits for a work of Tether's own and is not a user of the queue
// meanwhile. The end of the module moves that work to the leftover list and drops it. A kernel thread
// cannot be killed, so it waits for an event that nothing completes any more.
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
        // Runs when the module is removed, and returns by itself.
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
