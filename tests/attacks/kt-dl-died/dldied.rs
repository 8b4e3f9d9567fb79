// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Makes a thread a deadline thread after its body has panicked.
//!
//! The bandwidth of a dead thread is never given back: after some rounds no deadline thread can be
//! created until the next boot.
//!
//! A sound library fails with `ESRCH`. `form=1` tests whether bandwidth is left.
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use tether::kthread::{self, Builder, Policy};
module! {
    type: M, name: "dldied", authors: ["h"], description: "attack", license: "GPL",
    params: { form: i32 { default: 0, description: "1: test", }, },
}
fn tenth() -> Policy {
    Policy::Deadline {
        runtime: Delta::from_millis(10),
        deadline: Delta::from_millis(100),
        period: Delta::from_millis(100),
    }
}
struct M;
impl kernel::Module for M {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        if module_parameters::form.value() == 1 {
            let result = Builder::new(c"dldied-t").policy(tenth()).create(|_| ());
            pr_info!(
                "dldied: a new deadline thread: {:?}\n",
                result.map(|_| ()).map_err(|refused| refused.error)
            );
            return Ok(M);
        }
        let zero = module_parameters::form.value() as usize;
        let mut threads = KVec::new();
        for _ in 0..20 {
            let thread = kthread::spawn(c"dldied", move |_| [1, 2, 3][zero + 3])?;
            threads.push(thread, GFP_KERNEL)?;
        }
        fsleep(Delta::from_millis(2000));
        for thread in threads {
            pr_info!("dldied: set_policy: {:?}\n", thread.set_policy(tenth()));
            pr_info!(
                "dldied: stop: {}\n",
                match thread.stop() {
                    Ok(kthread::Exit::Died) => "died",
                    _ => "other",
                }
            );
        }
        Ok(M)
    }
}
