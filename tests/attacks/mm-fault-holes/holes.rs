// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Looks up a whole address space of which almost nothing is mapped, in a task that is killed.
//!
//! `Mirror::fault()` looks up 32 pages at a time. Where nothing is mapped, no step sleeps, so
//! that no function of the kernel checks for signals.
//!
//! A sound library checks for signals between the steps, and returns after SIGKILL.
use kernel::{page::PAGE_SIZE, prelude::*};
use tether::mm::{
    hmm::Request,
    mirror::{new_mirror, Mirror, MirrorDevice},
    mmu_notifier::{MmuNotifierRange, WouldSleep},
};
module! { type: Holes, name: "holes", authors: ["h"], description: "attack", license: "GPL", }
struct Nothing;
impl MirrorDevice for Nothing {
    fn invalidate(&self, _range: &MmuNotifierRange<'_>) {}
    fn try_invalidate(&self, _range: &MmuNotifierRange<'_>) -> Result<(), WouldSleep> {
        Ok(())
    }
}
struct Holes;
impl kernel::Module for Holes {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        let mirror: Pin<KBox<Mirror<Nothing>>> = KBox::pin_init(
            new_mirror!(mm, 0, usize::MAX - PAGE_SIZE, Nothing),
            GFP_KERNEL,
        )?;
        let pages = usize::MAX / PAGE_SIZE - 4;
        pr_info!("holes: begins\n");
        let result = mirror.fault(mm, 0, pages, Request::Snapshot, None);
        pr_info!("holes: returned {:?}\n", result);
        Err(ENODATA)
    }
}
