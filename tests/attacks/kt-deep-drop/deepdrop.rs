// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Attacks the stack by dropping a chain of threads that were not started.
// what it attacks: the body of each thread owns the next thread. Dropping the first one drops its body, and
// so on, one in the other. The documentation promises 50.
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
