// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Requests counters in high memory, which the documentation allows: "`EINVAL` if `flags` include
//! `__GFP_HIGHMEM`, and a page was allocated in high memory". The same flags are passed to the
//! allocation of the list of pages, where `kmalloc()` reports them ("Fix your code!").
use kernel::alloc::flags::*;
use kernel::prelude::*;
use tether::mm::shared_counters::SharedCounters;
module! { type: M, name: "cnthigh", authors: ["h"], description: "attack", license: "GPL", }
struct M;
impl kernel::Module for M {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        for count in [1usize, 512 * 100, 512 * 2048] {
            let counters = SharedCounters::new(count, GFP_KERNEL | __GFP_HIGHMEM);
            pr_info!(
                "cnthigh: requested {} {:?}\n",
                count,
                counters.map(|it| it.len())
            );
        }
        Ok(M)
    }
}
