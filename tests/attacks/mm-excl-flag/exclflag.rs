// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Makes a page of a mirror exclusive while another thread looks the page up.
//!
//! A mirror ignores the invalidation that its own make_exclusive() causes. A look-up that has
//! begun before the page became exclusive is therefore not repeated, and may record the page after
//! make_exclusive() has done so. If the look-up replaced the entry, the mirror would lose the
//! record that the device has exclusive access.
//!
//! A sound library keeps the exclusive entry. `user.c` compares each entry with the page table of
//! the process: no flag is lost, and no flag is set for a page that the CPU can access.
use kernel::{fs::File, page::PAGE_SIZE, prelude::*};
use tether::{
    misc_device::*,
    mm::{
        hmm::Request,
        mirror::{new_mirror, Mirror, MirrorDevice},
        mmu_notifier::{MmuNotifierRange, WouldSleep},
    },
};
module! { type: M, name: "exclflag", authors: ["h"], description: "attack", license: "GPL", }
struct N;
impl MirrorDevice for N {
    fn invalidate(&self, _: &MmuNotifierRange<'_>) {}
    fn try_invalidate(&self, _: &MmuNotifierRange<'_>) -> Result<(), WouldSleep> {
        Ok(())
    }
}
struct Dev {
    mirror: Pin<KBox<Mirror<N>>>,
}
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        let mirror = KBox::pin_init(new_mirror!(mm, 0, usize::MAX - PAGE_SIZE, N), GFP_KERNEL)?;
        Ok(KBox::new(Dev { mirror }, GFP_KERNEL)?)
    }
    fn ioctl(me: &Self, _: &File, cmd: u32, at: usize) -> Result<isize> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        match cmd & 0xff {
            1 => me.mirror.make_exclusive(mm, at).map(|()| 0),
            2 => me
                .mirror
                .fault(mm, at, 32, Request::Write, None)
                .map(|()| 0),
            3 => Ok(me.mirror.with_pages(|pages| {
                pages.get(at).map_or(0, |frame| {
                    1 + isize::from(frame.is_exclusive()) + 2 * isize::from(frame.is_writable())
                })
            })),
            4 => me
                .mirror
                .fault(mm, at, 32, Request::Snapshot, None)
                .map(|()| 0),
            _ => Err(ENOTTY),
        }
    }
}
#[pin_data]
struct M {
    #[pin]
    d: MiscDeviceRegistration<Dev>,
}
impl kernel::InPlaceModule for M {
    fn init(_: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self { d <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"exclflag" }) })
    }
}
