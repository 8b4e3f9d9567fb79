// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Requests more counters than there is memory: 2^40 and more.
//!
//! The caller chooses the size of the list of pages, and `kvmalloc()` warns about sizes of more
//! than `INT_MAX`.
//!
//! A sound library fails with `ENOMEM`, without a warning.
use kernel::prelude::*;
use tether::mm::shared_counters::SharedCounters;
module! { type: Huge, name: "counthuge", authors: ["h"], description: "attack", license: "GPL", }
struct Huge;
impl kernel::Module for Huge {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        for shift in [40u32, 50, 60, 63] {
            let refused = SharedCounters::new(1usize << shift, GFP_KERNEL).err();
            pr_info!("counthuge: {} {:?}\n", shift, refused);
        }
        Ok(Huge)
    }
}
