// SPDX-License-Identifier: GPL-2.0
//! Creates threads for `jfuse.ko` that run until they are stopped, and a worker that is busy.
//!
//! `jfuse.rs` describes the misuse and the expected answer.
use kernel::{
    prelude::*,
    sync::{Arc, SetOnce},
    time::{delay::fsleep, Delta},
};
use tether::kthread::{self, worker::KthreadWorker, Builder, Thread};
module! { type: Keep, name: "jfkeep", authors: ["h"], description: "attack", license: "GPL", }
#[no_mangle]
#[allow(missing_docs)]
pub fn jfkeep_make() -> Result<Thread<()>> {
    Ok(kthread::spawn(c"jfkeep", |context| {
        while !context.sleep().is_stopped() {}
    })?)
}
static WORKER: SetOnce<Arc<KthreadWorker>> = SetOnce::new();
/// Returns a worker that runs a work of one minute.
#[no_mangle]
pub fn jfkeep_work() -> Option<Arc<KthreadWorker>> {
    WORKER.as_ref().cloned()
}
struct Keep;
impl kernel::Module for Keep {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let worker = Arc::new(Builder::new(c"jfkeep-w").worker(module)?, GFP_KERNEL)?;
        worker.try_spawn(GFP_KERNEL, |_| {
            for _ in 0..600 {
                fsleep(Delta::from_millis(100));
            }
        })?;
        WORKER.populate(worker);
        Ok(Keep)
    }
}
