// SPDX-License-Identifier: GPL-2.0
//! Joins a thread of `cemake.ko`, in a thread or in a work of this module, and returns the handle
//! of the thread or of the worker to `cemake.ko`.
//!
//! `cemake.rs` describes the misuse and the expected answer.
use kernel::{prelude::*, sync::SetOnce};
use tether::kthread::{self, worker::KthreadWorker, Builder, Thread};
module! { type: Keep, name: "cekeep", authors: ["h"], description: "attack", license: "GPL", }
static MODULE: SetOnce<&'static ThisModule> = SetOnce::new();
#[no_mangle]
#[allow(missing_docs)]
pub fn cekeep_join(other: Thread<()>) -> Result<Thread<()>> {
    Ok(kthread::spawn(c"cekeep", move |_| {
        pr_info!(
            "cekeep: join: {:?}\n",
            other.join().map_err(|refused| refused.error)
        );
    })?)
}
#[no_mangle]
#[allow(missing_docs)]
pub fn cekeep_work(other: Thread<()>) -> Result<KthreadWorker> {
    let worker = Builder::new(c"cekeep-w").worker(MODULE.copy().ok_or(ENODEV)?)?;
    worker.try_spawn(GFP_KERNEL, move |_| {
        pr_info!(
            "cekeep: work: {:?}\n",
            other.join().map_err(|refused| refused.error)
        );
    })?;
    Ok(worker)
}
struct Keep;
impl kernel::Module for Keep {
    fn init(module: &'static ThisModule) -> Result<Self> {
        MODULE.populate(module);
        Ok(Keep)
    }
}
