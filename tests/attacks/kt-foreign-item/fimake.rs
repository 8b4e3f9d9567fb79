// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Creates a work item of a type of `fikeep.ko` and passes the item to that module.
//!
//! `fikeep_code.rs` describes the misuse and the expected answer.
use kernel::prelude::*;
module! { type: Make, name: "fimake", authors: ["h"], description: "attack", license: "GPL", }
struct Make;
impl kernel::Module for Make {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        fikeep::fikeep_keep(fikeep::make(7)?);
        Ok(Make)
    }
}
