// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Creates a thread with a result type that is larger than any allocation.
//!
//! The memory of a thread includes the result. With a type of 16 MiB, `kmalloc()` would warn
//! about an order that the page allocator does not have, although no value of this type is ever
//! built.
//!
//! A sound library fails with `ENOMEM`, without a warning of the kernel.
use core::mem::MaybeUninit;
use kernel::prelude::*;
use tether::kthread::Builder;
module! { type: Huge, name: "huge", authors: ["h"], description: "attack", license: "GPL", }
struct Huge;
#[allow(dead_code)]
enum Never {}
impl kernel::Module for Huge {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let error = Builder::new(c"huge")
            .create(|_| -> KBoxed { KBoxed(MaybeUninit::uninit()) })
            .map(|_| ())
            .map_err(|refused| refused.error);
        pr_info!("huge: {error:?}\n");
        Ok(Huge)
    }
}
#[allow(dead_code)]
struct KBoxed(MaybeUninit<[u8; 16 << 20]>);
