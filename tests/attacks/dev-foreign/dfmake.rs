// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Registers three devices and passes the registrations to `dfkeep.ko`. With `fail=1`, the init
//! fails afterwards.
//!
//! `dfkeep_code.rs` describes the misuse and the expected answer.
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use tether::misc_device::*;
module! {
    type: Make, name: "dfmake", authors: ["h"], description: "attack", license: "GPL",
    params: { fail: i32 { default: 0, description: "fail", }, },
}
struct Make;
impl kernel::Module for Make {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        for name in [c"dfone", c"dftwo", c"dfthree"] {
            if let Ok(it) = KBox::pin_init(
                MiscDeviceRegistration::<dfkeep::Dev>::register(MiscDeviceOptions { name }),
                GFP_KERNEL,
            ) {
                dfkeep::dfkeep_keep(it);
            }
        }
        if module_parameters::fail.value() != 0 {
            fsleep(Delta::from_millis(5));
            return Err(EIO);
        }
        Ok(Make)
    }
}
