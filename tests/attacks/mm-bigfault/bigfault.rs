// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Looks up 4 million pages in one call of `fault()`, with a limit or in a task that is killed.
//!
//! The pages are faulted in one after the other. If neither the limit nor signals are checked
//! in between, the call runs until all pages are there.
//!
//! A sound library returns `EBUSY` soon after the limit, and `EINTR` soon after SIGKILL: a
//! limit of 200 ms ends within a second, and a killed task within 1.5 seconds.
use kernel::{
    fs::File,
    page::PAGE_SIZE,
    prelude::*,
    time::{Delta, Instant, Monotonic},
};
use tether::{
    misc_device::*,
    mm::{
        hmm::{HmmRange, Pfn, Request},
        mmu_interval_notifier::{
            new_mmu_interval_notifier, Invalidate, MmuIntervalNotifier, OnePass,
            Registration as Interval,
        },
        mmu_notifier::{MmuNotifierRange, WouldSleep},
    },
};
module! { type: M, name: "bigfault", authors: ["h"], description: "attack", license: "GPL", }
struct N;
impl MmuIntervalNotifier for N {
    type Shadow = ();
    type Passes = OnePass;
    fn try_invalidate(&self, _: &MmuNotifierRange<'_>, _: &mut ()) -> Result<(), WouldSleep> {
        Ok(())
    }
}
impl Invalidate for N {
    fn invalidate(&self, _: &MmuNotifierRange<'_>, _: &mut ()) {}
}
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
    fn ioctl(_: &Self, _: &File, cmd: u32, arg: usize) -> Result<isize> {
        let count = 1usize << 22;
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        let it: Pin<KBox<Interval<N>>> = KBox::pin_init(
            new_mmu_interval_notifier!(mm, arg, count * PAGE_SIZE, N, ()),
            GFP_KERNEL,
        )?;
        let mut pfns = KVVec::from_elem(Pfn::default(), count, GFP_KERNEL)?;
        let mut range = HmmRange::new(arg, &mut pfns).request(Request::Read);
        if cmd != 0 {
            range = range.timeout(Delta::from_millis(cmd.into()));
        }
        let begun: Instant<Monotonic> = Instant::now();
        let result = it.fault(mm, range, |pfns, _| {
            pfns.iter().filter(|p| p.is_valid()).count()
        });
        pr_info!(
            "bigfault: limit {} ms: {:?} after {} ms\n",
            cmd,
            result,
            begun.elapsed().as_millis()
        );
        result.map(|_| 0)
    }
}
#[pin_data]
struct M {
    #[pin]
    d: MiscDeviceRegistration<Dev>,
}
impl kernel::InPlaceModule for M {
    fn init(_: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self { d <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"bigfault" }) })
    }
}
