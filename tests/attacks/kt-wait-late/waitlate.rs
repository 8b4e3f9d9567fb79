// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Waits for 200 ms, with a condition that takes a while, and is woken often.
// what it attacks: `wait_until_timeout()` says that it waits no longer than the time. Only the time that it sleeps
// counts, and a thread that was woken does not sleep.
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
