// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Registers a notifier of a type of `mfkeep.ko` and passes the registration to that module.
//!
//! `mfkeep_code.rs` describes the misuse and the expected answer.
use kernel::prelude::*;
module! { type: Make, name: "mfmake", authors: ["h"], description: "attack", license: "GPL", }
struct Make;
impl kernel::Module for Make {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        mfkeep::mfkeep_keep(mfkeep::make(mm, 7)?);
        Ok(Make)
    }
}
