// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Unmaps the next page of the range in each invalidation, 400 times.
//!
//! The first page is unmapped with the shadow locked, so that the notifier is called when the
//! lock is released (`catch_up()`). Each call of `invalidate()` unmaps another page of the
//! range, and returns before the notifier is called again. If `catch_up()` called itself for
//! each missed range, it would use up the kernel stack.
//!
//! A sound library calls the notifier in a loop.
use kernel::{fs::File, page::PAGE_SIZE, prelude::*};
use tether::{
    misc_device::*,
    mm::{
        mmu_interval_notifier::{
            new_mmu_interval_notifier, Invalidate, MmuIntervalNotifier, OnePass,
            Registration as Interval,
        },
        mmu_notifier::{Event, MmuNotifierRange, WouldSleep},
    },
};
module! { type: M, name: "catchup", authors: ["h"], description: "attack", license: "GPL", }
const PAGES: usize = 400;
struct N(usize);
impl MmuIntervalNotifier for N {
    type Shadow = usize;
    type Passes = OnePass;
    fn try_invalidate(&self, _: &MmuNotifierRange<'_>, _: &mut usize) -> Result<(), WouldSleep> {
        Ok(())
    }
}
impl Invalidate for N {
    fn invalidate(&self, range: &MmuNotifierRange<'_>, next: &mut usize) {
        if range.event() != Event::Clear || *next >= PAGES {
            return;
        }
        let address = self.0 + *next * PAGE_SIZE;
        *next += 1;
        if let Some(mm) = range.mm().mmget_not_zero() {
            if let Some(vma) = mm.lock_vma_under_rcu(address) {
                vma.zap_vma_range(address, PAGE_SIZE);
            }
        }
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
            "catchup: {} of {} pages\n",
            it.shadow().with(|next| *next),
            PAGES
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
        try_pin_init!(Self { d <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"catchup" }) })
    }
}
