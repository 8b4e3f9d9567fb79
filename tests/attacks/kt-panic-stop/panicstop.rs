// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Stops, parks and drops threads after their bodies have panicked.
//!
//! Such a body does not return, and does not answer a request to park, so that a wait for
//! either would not end.
//!
//! A sound library returns `Exit::Died` from `stop()` and `stop_timeout()`, and an error from
//! `park_timeout()`. Handles of such threads can be dropped, also in the exit of the module.
use kernel::{
    prelude::*,
    sync::Arc,
    time::{delay::fsleep, Delta},
};
use tether::kthread::{self, Builder, Thread};
module! { type: M, name: "panicstop", authors: ["h"], description: "attack", license: "GPL", }
struct M {
    _held: Thread<u32>,
}
impl kernel::Module for M {
    fn init(_: &'static ThisModule) -> Result<Self> {
        let first = kthread::spawn(c"panics1", |_| -> u32 { panic!("panicstop: as intended") })?;
        let held = kthread::spawn(c"panics2", |_| -> u32 { panic!("panicstop: as intended") })?;
        let parked = Arc::new(
            Builder::new(c"panics3")
                .parkable()
                .spawn(|_| -> u32 { panic!("panicstop: as intended") })?,
            GFP_KERNEL,
        )?;
        fsleep(Delta::from_secs(2));
        pr_info!(
            "panicstop: park_timeout: {:?}\n",
            parked.park_timeout(Delta::from_millis(500))
        );
        pr_info!("panicstop: is_finished: {}\n", first.is_finished());
        match first.stop_timeout(Delta::from_millis(1500)) {
            Ok(exit) => pr_info!("panicstop: stop_timeout: {:?}\n", exit),
            Err(refused) => {
                pr_info!("panicstop: stop_timeout: {:?}\n", refused.error);
                return Err(EINVAL);
            }
        }
        let second = kthread::spawn(c"panics4", |_| -> u32 { panic!("panicstop: as intended") })?;
        fsleep(Delta::from_secs(1));
        match second.stop() {
            Ok(exit) => pr_info!("panicstop: stop() has returned {:?}\n", exit),
            Err(refused) => pr_info!("panicstop: stop() has failed: {:?}\n", refused.error),
        }
        drop(parked);
        pr_info!("panicstop: a handle was dropped\n");
        Ok(M { _held: held })
    }
}
