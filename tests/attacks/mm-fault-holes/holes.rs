// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Looks up all of an address space, where next to nothing is mapped.
// what it attacks: `Mirror::fault()` looks 32 pages up at a time. No step of that waits, where nothing is
// mapped, so that none looks for a signal.
use kernel::{page::PAGE_SIZE, prelude::*};
use tether::mm::{
    hmm::Request,
    mirror::{new_mirror, Mirror, MirrorDevice},
    mmu_notifier::{Range, WouldSleep},
};
module! { type: Holes, name: "holes", authors: ["h"], description: "attack", license: "GPL", }
struct Nothing;
impl MirrorDevice for Nothing {
    fn invalidate(&self, _range: &Range<'_>) {}
    fn try_invalidate(&self, _range: &Range<'_>) -> Result<(), WouldSleep> {
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
