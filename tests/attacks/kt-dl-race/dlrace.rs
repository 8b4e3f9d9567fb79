// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Makes a thread a deadline thread while it ends.
//!
//! `set_policy()` tests whether the body has returned, and changes the policy afterwards. If the
//! thread dies in between, its bandwidth is never given back.
//!
//! A sound library leaves no bandwidth taken: `form=1` creates threads that need all of it.
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
    time::{delay::fsleep, Delta, Instant, Monotonic},
};
use tether::kthread::{self, Builder, Policy};
module! {
    type: M, name: "dlrace", authors: ["h"], description: "attack", license: "GPL",
    params: { form: i32 { default: 0, description: "1: test", }, },
}
fn percent(percent: i64) -> Policy {
    Policy::Deadline {
        runtime: Delta::from_micros(1000 * percent),
        deadline: Delta::from_millis(100),
        period: Delta::from_millis(100),
    }
}
struct M;
impl kernel::Module for M {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        if module_parameters::form.value() == 1 {
            let first = Builder::new(c"dlrace-1").policy(percent(90)).create(|_| ());
            let second = Builder::new(c"dlrace-2").policy(percent(85)).create(|_| ());
            pr_info!(
                "dlrace: new deadline threads: {:?} {:?}\n",
                first.map(|_| ()).map_err(|refused| refused.error),
                second.map(|_| ()).map_err(|refused| refused.error)
            );
            return Ok(M);
        }
        // These two contend for the mutex that `sched_setattr()` takes.
        let mut noise = KVec::new();
        for _ in 0..2 {
            let thread = kthread::spawn(c"dlrace-n", |context| {
                while !context.should_stop() {
                    let _ = context.set_policy(percent(1));
                    let _ = context.set_policy(Policy::Normal { nice: 0 });
                    fsleep(Delta::from_micros(50));
                }
            })?;
            noise.push(thread, GFP_KERNEL)?;
        }
        let begun = Instant::<Monotonic>::now();
        let (mut rounds, mut changed) = (0u32, 0u32);
        while begun.elapsed().as_millis() < 20_000 {
            rounds += 1;
            let go = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
            let seen = go.clone();
            let thread = kthread::spawn(c"dlrace", move |_| {
                while seen.load(Relaxed) == 0 {
                    core::hint::spin_loop();
                }
                for _ in 0..seen.load(Relaxed) {
                    core::hint::spin_loop();
                }
            })?;
            go.store((rounds % 64 * 16 + 1) as i32, Relaxed);
            while !thread.is_finished() {
                if thread.set_policy(percent(1)).is_ok() {
                    changed += 1;
                }
                let _ = thread.set_policy(Policy::Normal { nice: 0 });
            }
            let _ = thread.join();
        }
        pr_info!("dlrace: {rounds} rounds, changed {changed} times\n");
        Ok(M)
    }
}
