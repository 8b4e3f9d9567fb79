// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Calls read() of an interval notifier inside a closure that has the shadow of another notifier on
//! the same address space locked.
//!
//! read() waits, uninterruptibly, until no invalidation of its range is in progress. `user.c`
//! invalidates both ranges at once: such an invalidation calls both notifiers, and waits for the
//! lock of the closure. If read() waited for this invalidation, both tasks would wait for each
//! other, and the process could not be killed.
//!
//! A sound library refuses a read() with `EDEADLK` while the caller has a shadow locked.
use kernel::{
    fs::File,
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{Arc, Mutex},
    time::{delay::fsleep, Delta},
};
use tether::{
    misc_device::*,
    mm::{
        mmu_interval_notifier::{
            new_mmu_interval_notifier, Invalidate, MmuIntervalNotifier, OnePass,
            Registration as Interval,
        },
        mmu_notifier::{MmuNotifierRange, WouldSleep},
    },
};
module! { type: M, name: "nested", authors: ["h"], description: "attack", license: "GPL", }
const PAGES: usize = 8;
struct N;
impl MmuIntervalNotifier for N {
    type Shadow = usize;
    type Passes = OnePass;
    fn try_invalidate(&self, _: &MmuNotifierRange<'_>, n: &mut usize) -> Result<(), WouldSleep> {
        *n += 1;
        Ok(())
    }
}
impl Invalidate for N {
    fn invalidate(&self, _: &MmuNotifierRange<'_>, n: &mut usize) {
        *n += 1;
    }
}
type Pair = (Pin<KBox<Interval<N>>>, Pin<KBox<Interval<N>>>);
#[pin_data]
struct Dev {
    #[pin]
    pair: Mutex<Option<Arc<Pair>>>,
}
#[vtable]
impl MiscDevice for Dev {
    type Ptr = Pin<KBox<Self>>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        KBox::pin_init(pin_init!(Dev { pair <- new_mutex!(None) }), GFP_KERNEL)
    }
    fn ioctl(me: Pin<&Self>, _: &File, cmd: u32, arg: usize) -> Result<isize> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        if cmd & 0xff == 1 {
            let lower = KBox::pin_init(
                new_mmu_interval_notifier!(mm, arg, PAGES * PAGE_SIZE, N, 0),
                GFP_KERNEL,
            )?;
            let upper = KBox::pin_init(
                new_mmu_interval_notifier!(mm, arg + PAGES * PAGE_SIZE, PAGES * PAGE_SIZE, N, 0),
                GFP_KERNEL,
            )?;
            *me.pair.lock() = Some(Arc::new((lower, upper), GFP_KERNEL)?);
            return Ok(0);
        }
        let pair = me.pair.lock().clone().ok_or(EINVAL)?;
        let mut read = 0;
        for _ in 0..2000 {
            if kernel::task::Task::signal_pending(&task) {
                break;
            }
            read = pair.1.shadow().with(|_| {
                fsleep(Delta::from_micros(500));
                pair.0.read(|| Ok(()), |(), n| *n)
            })?;
        }
        pr_info!("nested: done, {read}\n");
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
        try_pin_init!(Self { d <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"nested" }) })
    }
}
