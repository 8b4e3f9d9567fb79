// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Detaches a thread after its body has panicked.
//!
//! detach() takes a pin of the module, which the thread drops when its body returns. The body of
//! a thread that has panicked does not return. If detach() succeeded, the module could not be
//! removed.
//!
//! A sound library refuses to detach the thread with `ENODEV` and returns the handle. Dropping
//! the handle, and `rmmod`, then succeed.
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use tether::kthread;
module! { type: M, name: "detachdead", authors: ["h"], description: "attack", license: "GPL", }
struct M;
impl kernel::Module for M {
    fn init(_: &'static ThisModule) -> Result<Self> {
        let dead = kthread::spawn(c"detachdead", |_| -> u32 {
            panic!("detachdead: as intended")
        })?;
        fsleep(Delta::from_secs(1));
        // join() returns `ENODEV` and the handle within a second.
        let joined = kthread::spawn(c"detachdead", |_| -> u32 {
            panic!("detachdead: as intended")
        })?;
        fsleep(Delta::from_secs(1));
        match joined.join() {
            Ok(_) => pr_info!("detachdead: join: Ok\n"),
            Err(refused) => pr_info!(
                "detachdead: join: {:?}, is_finished {}, try_join {:?}\n",
                refused.error,
                refused.item.is_finished(),
                refused.item.try_join().map_err(|refused| refused.error)
            ),
        }
        match dead.detach() {
            Ok(()) => pr_info!("detachdead: detached\n"),
            Err(refused) => pr_info!("detachdead: refused: {:?}\n", refused.error),
        }
        Ok(M)
    }
}
