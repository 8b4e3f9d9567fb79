// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Waits 200 ms for a condition that takes 20 ms, while the thread is woken every 2 ms.
//!
//! A thread that is woken hardly sleeps. If `wait_until_timeout()` counted only the time
//! asleep, the wait would not end after the limit.
//!
//! A sound library counts the time of the condition: the wait returns within two seconds.
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta, Instant, Monotonic},
};
use tether::kthread;
module! { type: M, name: "waitlate", authors: ["h"], description: "attack", license: "GPL", }
struct M;
impl kernel::Module for M {
    fn init(_: &'static ThisModule) -> Result<Self> {
        let thread = kthread::spawn(c"waitlate", |context| {
            let begin = Instant::<Monotonic>::now();
            let wake = context.wait_until_timeout(Delta::from_millis(200), || {
                fsleep(Delta::from_millis(20));
                false
            });
            pr_info!(
                "waitlate: {:?} after {} ms\n",
                wake,
                begin.elapsed().as_millis()
            );
        })?;
        let begin = Instant::<Monotonic>::now();
        while begin.elapsed().as_millis() < 5000 {
            thread.wake();
            fsleep(Delta::from_millis(2));
        }
        thread.join()?;
        Ok(M)
    }
}
