// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Creates a thread that returns ten seconds after the request to stop, and passes its handle
//! to `fskeep.ko`.
//!
//! `fskeep_code.rs` describes the misuse and the expected answer.
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use tether::kthread;
module! { type: Make, name: "fsmake", authors: ["h"], description: "attack", license: "GPL", }
struct Slow;
impl Drop for Slow {
    #[inline(never)]
    fn drop(&mut self) {
        pr_info!("fsmake: destructor begins\n");
        for _ in 0..40 {
            fsleep(Delta::from_millis(100));
        }
        pr_info!("fsmake: destructor ends\n");
    }
}
impl fskeep::Payload for Slow {}
struct Make;
impl kernel::Module for Make {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let thread = kthread::spawn(c"fsmake", |context| -> KBox<dyn fskeep::Payload> {
            while !context.sleep().is_stopped() {}
            fsleep(Delta::from_secs(10));
            match KBox::new(Slow, GFP_KERNEL) {
                Ok(slow) => slow,
                Err(_) => loop {
                    fsleep(Delta::from_secs(1))
                },
            }
        })?;
        fskeep::fskeep_keep(thread);
        Ok(Make)
    }
}
