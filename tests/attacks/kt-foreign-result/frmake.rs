// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Creates a thread, waits until it has finished, and passes its handle to `frkeep.ko`.
//!
//! `frkeep_code.rs` describes the misuse and the expected answer.
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use tether::kthread;
module! { type: Make, name: "frmake", authors: ["h"], description: "attack", license: "GPL", }
struct Slow;
impl Drop for Slow {
    #[inline(never)]
    fn drop(&mut self) {
        pr_info!("frmake: destructor begins\n");
        for _ in 0..40 {
            fsleep(Delta::from_millis(100));
        }
        pr_info!("frmake: destructor ends\n");
    }
}
impl frkeep::Payload for Slow {}
struct Make;
impl kernel::Module for Make {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let thread = kthread::spawn(c"frmake", |_| -> KBox<dyn frkeep::Payload> {
            match KBox::new(Slow, GFP_KERNEL) {
                Ok(slow) => slow,
                Err(_) => loop {
                    fsleep(Delta::from_secs(1))
                },
            }
        })?;
        while !thread.is_finished() {
            fsleep(Delta::from_millis(1));
        }
        frkeep::frkeep_keep(thread);
        Ok(Make)
    }
}
