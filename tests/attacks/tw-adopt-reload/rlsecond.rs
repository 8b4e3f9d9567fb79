// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Occupies an owner record of Tether and a range of module memory.
//!
//! `rluser.rs` describes the misuse and the expected answer.
use kernel::prelude::*;
module! { type: M, name: "rlsecond", authors: ["h"], description: "attack", license: "GPL", }
struct M;
impl kernel::Module for M {
    fn init(_: &'static ThisModule) -> Result<Self> {
        Ok(M)
    }
}
