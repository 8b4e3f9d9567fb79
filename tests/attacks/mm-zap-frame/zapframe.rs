// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Requests a frame in the closure that has just unmapped its page.
//!
//! The closure has the table of the mirror locked, so that the table still contains the page. A
//! driver could record its number in the page table of a device.
//!
//! A sound library returns no frame after the closure has invalidated a page, as `Pages`
//! documents.
use kernel::{fs::File, prelude::*};
use tether::{
    misc_device::*,
    mm::{
        hmm::Request,
        mirror::{new_mirror, Mirror, MirrorDevice},
        mmu_notifier::{MmuNotifierRange, WouldSleep},
    },
};
module! { type: M, name: "zapframe", authors: ["h"], description: "attack", license: "GPL", }
struct N;
impl MirrorDevice for N {
    fn invalidate(&self, r: &MmuNotifierRange<'_>) {
        pr_info!("zapframe: invalidate {:x}\n", r.start());
    }
    fn try_invalidate(&self, _: &MmuNotifierRange<'_>) -> Result<(), WouldSleep> {
        Ok(())
    }
}
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
    fn ioctl(_: &Self, _: &File, _: u32, arg: usize) -> Result<isize> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        let it: Pin<KBox<Mirror<N>>> = KBox::pin_init(new_mirror!(mm, arg, 4096, N), GFP_KERNEL)?;
        it.fault(mm, arg, 1, Request::Write, None)?;
        it.with_pages(|p| {
            let before = p.get(arg).map(|f| f.number());
            if let Some(vma) = mm.lock_vma_under_rcu(arg) {
                vma.zap_vma_range(arg, 4096);
            }
            let frame = p.get(arg);
            pr_info!(
                "zapframe: before {:?}, after {:?} writable {:?} read {:?}\n",
                before,
                frame.as_ref().map(|f| f.number()),
                frame.as_ref().map(|f| f.is_writable()),
                frame.as_ref().map(|f| f.read(0, &mut [0; 8]))
            );
        });
        pr_info!(
            "zapframe: then {:?}\n",
            it.with_pages(|p| p.get(arg).map(|f| f.number()))
        );
        Ok(0)
    }
}
#[pin_data]
struct M {
    #[pin]
    d: MiscDeviceRegistration<Dev>,
}
impl kernel::InPlaceModule for M {
    fn init(_: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self { d <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"zapframe" }) })
    }
}
