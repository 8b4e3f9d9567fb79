// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Makes a work item of another module's type, and gives it to that module.
use kernel::prelude::*;
module! { type: Make, name: "fimake", authors: ["h"], description: "attack", license: "GPL", }
struct Make;
impl kernel::Module for Make {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        fikeep::fikeep_keep(fikeep::make(7)?);
        Ok(Make)
    }
}
