// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Makes a sleeping thread a deadline thread and a normal thread again, several times.
//!
//! The kernel gives the bandwidth back when the thread next runs as a deadline thread. A thread
//! that sleeps meanwhile never does, so that its bandwidth is lost until the next boot.
//!
//! A sound library leaves no bandwidth taken.
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use tether::kthread::{self, Builder, Policy};
module! { type: M, name: "dltoggle", authors: ["h"], description: "attack", license: "GPL", }
fn tenth() -> Policy {
    Policy::Deadline {
        runtime: Delta::from_millis(10),
        deadline: Delta::from_millis(100),
        period: Delta::from_millis(100),
    }
}
fn test(when: &str) {
    let result = Builder::new(c"dltoggle-t").policy(tenth()).create(|_| ());
    pr_info!(
        "dltoggle: a new deadline thread {when}: {:?}\n",
        result.map(|_| ()).map_err(|refused| refused.error)
    );
}
struct M;
impl kernel::Module for M {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        test("before");
        let thread = kthread::spawn(
            c"dltoggle",
            |context| {
                while !context.sleep().is_stopped() {}
            },
        )?;
        fsleep(Delta::from_millis(300));
        for n in 0..20 {
            let on = thread.set_policy(tenth());
            let off = thread.set_policy(Policy::Normal { nice: 0 });
            if on.is_err() || off.is_err() {
                pr_info!("dltoggle: {n}: {on:?} {off:?}\n");
                break;
            }
        }
        let _ = thread.stop();
        fsleep(Delta::from_millis(1500));
        test("afterwards");
        Ok(M)
    }
}
