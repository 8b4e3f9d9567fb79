// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Calls a closure in another task, waits until it has returned, and passes its handle to
//! `crkeep.ko`. With `form=1`, the init fails afterwards.
//!
//! `crkeep_code.rs` describes the misuse and the expected answer.
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use tether::{
    pid,
    task_work::{self, NotifyMode},
};
module! {
    type: Make, name: "crmake", authors: ["h"], description: "attack", license: "GPL",
    params: {
        target: i32 { default: 0, description: "the pid of a task", },
        form: i32 { default: 0, description: "1: the init fails", },
    },
}
struct Slow(u64);
impl Drop for Slow {
    #[inline(never)]
    fn drop(&mut self) {
        pr_info!("crmake: destructor {}\n", self.0);
    }
}
impl crkeep::Payload for Slow {}
struct Make;
impl kernel::Module for Make {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let target = pid::find_task(module_parameters::target.value()).ok_or(ESRCH)?;
        let slow = KBox::new(Slow(7), GFP_KERNEL)?;
        let call = task_work::call(
            &target,
            move |_| -> KBox<dyn crkeep::Payload> { slow },
            NotifyMode::Signal,
            GFP_KERNEL,
        )?;
        while !call.is_done() {
            fsleep(Delta::from_millis(10));
        }
        crkeep::crkeep_keep(call);
        if module_parameters::form.value() == 1 {
            return Err(EIO);
        }
        Ok(Make)
    }
}
