// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Drops chains of unstarted threads, each owned by the body of the next thread.
//!
//! The drop of a thread drops its body, which drops the previous thread: the recursion is as
//! deep as the chain. The chains have 10, 30 and 50 threads. A chain of 100 boxes is dropped
//! first, for comparison.
//!
//! A sound library does not use up the kernel stack. `Documentation/kthread.rst` promises that
//! a chain of 50 threads can be dropped.
use kernel::prelude::*;
use tether::kthread::{Builder, Unstarted};
module! { type: Deep, name: "deepdrop", authors: ["h"], description: "attack", license: "GPL", }
struct Boxed {
    _next: Option<KBox<Boxed>>,
}
struct Deep;
impl kernel::Module for Deep {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let mut boxed = None;
        for _ in 0..100 {
            boxed = Some(KBox::new(
                Boxed {
                    _next: boxed.take(),
                },
                GFP_KERNEL,
            )?);
        }
        drop(boxed);
        pr_warn!("deepdrop: boxes dropped\n");
        for depth in [10, 30, 50] {
            let mut thread: Option<Unstarted<()>> = None;
            for _ in 0..depth {
                let next = thread.take();
                thread = Some(Builder::new(c"deepdrop").create(move |_| drop(next))?);
            }
            pr_warn!("deepdrop: dropping {depth}\n");
            drop(thread);
            pr_warn!("deepdrop: dropped {depth}\n");
        }
        Ok(Deep)
    }
}
