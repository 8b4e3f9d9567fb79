// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! A module that takes a record, and a place in memory.
use kernel::prelude::*;
module! { type: M, name: "rlthird", authors: ["h"], description: "attack", license: "GPL", }
struct M;
impl kernel::Module for M {
    fn init(_: &'static ThisModule) -> Result<Self> {
        Ok(M)
    }
}
