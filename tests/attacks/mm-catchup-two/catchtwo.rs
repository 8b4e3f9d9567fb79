// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Unmaps a further page in the first pass of each invalidation, and returns a value for the second
//! pass each time.
//!
//! The notifier misses the page that it unmaps, and the library runs another first pass for this
//! page before it unlocks the shadow. It stores the values of all first passes until then, and
//! must not sleep for memory. 20000 values of 256 bytes are 4.9 MiB. If the library needed one
//! contiguous allocation for all values, the allocation would fail, and the library would panic
//! with the shadow locked.
//!
//! A sound library stores the values in small pieces: all pages are unmapped, and each value is
//! passed to a second pass.
use kernel::{
    fs::File,
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
};
use tether::{
    misc_device::*,
    mm::{
        mmu_interval_notifier::{
            new_mmu_interval_notifier, InvalidateInTwoPasses, MmuIntervalNotifier,
            Registration as Interval, Shadow, TwoPasses,
        },
        mmu_notifier::{Event, MmuNotifierRange, WouldSleep},
    },
};
module! { type: M, name: "catchtwo", authors: ["h"], description: "attack", license: "GPL", }
/// The number of pages. Each page has a value of 256 bytes, which is 4.9 MiB for all pages.
const PAGES: usize = 20000;
static FINISHED: Atomic<usize> = Atomic::new(0);
struct N(usize);
impl MmuIntervalNotifier for N {
    type Shadow = usize;
    type Passes = TwoPasses;
    fn try_invalidate(&self, _: &MmuNotifierRange<'_>, _: &mut usize) -> Result<(), WouldSleep> {
        Ok(())
    }
}
impl InvalidateInTwoPasses for N {
    type Begun = [u64; 32];
    fn begin(&self, range: &MmuNotifierRange<'_>, next: &mut usize) -> Option<[u64; 32]> {
        if range.event() != Event::Clear || *next >= PAGES {
            return None;
        }
        let address = self.0 + *next * PAGE_SIZE;
        *next += 1;
        if let Some(mm) = range.mm().mmget_not_zero() {
            if let Some(vma) = mm.lock_vma_under_rcu(address) {
                vma.zap_vma_range(address, PAGE_SIZE);
            }
        }
        Some([*next as u64; 32])
    }
    fn finish(&self, _: [u64; 32], _: &Shadow<usize>) {
        FINISHED.fetch_add(1, Full);
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
        let it: Pin<KBox<Interval<N>>> = KBox::pin_init(
            new_mmu_interval_notifier!(mm, arg, PAGES * PAGE_SIZE, N(arg), PAGES),
            GFP_KERNEL,
        )?;
        it.shadow().with(|next| {
            *next = 0;
            if let Some(vma) = mm.lock_vma_under_rcu(arg) {
                vma.zap_vma_range(arg, PAGE_SIZE);
            }
        });
        pr_info!(
            "catchtwo: {} of {} pages, finished {}\n",
            it.shadow().with(|next| *next),
            PAGES,
            FINISHED.load(Relaxed)
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
        try_pin_init!(Self { d <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"catchtwo" }) })
    }
}
