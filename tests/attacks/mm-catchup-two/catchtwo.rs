// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Unmaps a page in the first pass of each invalidation, and has something to wait for each time.
// what it attacks: what the first passes have begun is kept in a vector, in one piece of memory that the kernel has to
// find without waiting; if it does not, that is a panic of the library's, with the shadow locked.
use kernel::{
    fs::File,
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
};
use tether::{
    misc_device::*,
    mm::{
        interval_notifier::{
            new_interval_notifier, IntervalNotifier, InvalidateInTwoPasses,
            Registration as Interval, Shadow, TwoPasses,
        },
        mmu_notifier::{Event, Range, WouldSleep},
    },
};
module! { type: M, name: "catchtwo", authors: ["h"], description: "attack", license: "GPL", }
/// Megabytes of what was begun, in an array of 256 bytes each.
const PAGES: usize = 20000;
static FINISHED: Atomic<usize> = Atomic::new(0);
struct N(usize);
impl IntervalNotifier for N {
    type Shadow = usize;
    type Passes = TwoPasses;
    fn try_invalidate(&self, _: &Range<'_>, _: &mut usize) -> Result<(), WouldSleep> {
        Ok(())
    }
}
impl InvalidateInTwoPasses for N {
    type Begun = [u64; 32];
    fn begin(&self, range: &Range<'_>, next: &mut usize) -> Option<[u64; 32]> {
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
            new_interval_notifier!(mm, arg, PAGES * PAGE_SIZE, N(arg), PAGES),
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
