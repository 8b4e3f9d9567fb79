// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Allows SIGKILL in a thread that uses an address space.
//!
//! * `form=0`: no address space is used;
//! * `form=1`: the thread has used an address space after it has allowed the signal;
//! * `form=2`: the thread uses an address space while the signal is pending.
//!
//! A sound library ends a sleep with `Wake::Signal(9)` in each form, as
//! `Context::allow_signal()` says, or refuses to allow the signal.
use kernel::{
    mm::MmWithUser,
    prelude::*,
    sync::aref::ARef,
    time::{delay::fsleep, Delta},
};
use tether::kthread::{self, Thread, Wake};
module! {
    type: M, name: "killallow", authors: ["h"], description: "attack", license: "GPL",
    params: { form: i32 { default: 0, description: "see the first comment", }, },
}
struct M {
    _thread: Thread<()>,
}
impl kernel::Module for M {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let form = module_parameters::form.value();
        let mm: ARef<MmWithUser> = kernel::current!().mm().ok_or(EINVAL)?.into();
        let thread = kthread::spawn(c"killallow", move |context| {
            let allowed = context.allow_signal(9);
            pr_info!("killallow: form {form}: allowed: {allowed:?}\n");
            if form == 1 {
                context.with_mm(&mm, || ());
            }
            for _ in 0..30 {
                if context.should_stop() {
                    break;
                }
                fsleep(Delta::from_millis(100));
            }
            if form == 2 {
                context.with_mm(&mm, || ());
            }
            drop(mm);
            let wake = match context.sleep_for(Delta::from_secs(2)) {
                Wake::Signal(9) => "signal 9",
                Wake::Signal(_) => "signal",
                Wake::Stopped => "stopped",
                Wake::TimedOut => "timed out",
                _ => "other",
            };
            pr_info!("killallow: form {form}: sleep: {wake}\n");
            while !context.sleep().is_stopped() {}
        })?;
        Ok(M { _thread: thread })
    }
}
