// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Calls functions of notifiers and mirrors that sleep, in a timer interrupt.
//!
//! The interrupted task may hold any lock that these functions take.
//!
//! A sound library returns `EDEADLK` from each function before it takes a lock.
use kernel::{
    impl_has_hr_timer,
    mm::MmWithUser,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Full, Relaxed},
        Arc, ArcBorrow,
    },
    time::{
        delay::fsleep,
        hrtimer::{
            HrTimer, HrTimerCallback, HrTimerCallbackContext, HrTimerPointer, HrTimerRestart,
            RelativeMode,
        },
        Delta, Monotonic,
    },
};
use tether::mm::{
    hmm::{Pfn, Request},
    mirror::{new_mirror, Mirror, MirrorDevice},
    mmu_interval_notifier::{
        new_mmu_interval_notifier, Invalidate, MmuIntervalNotifier, OnePass,
        Registration as Interval,
    },
    mmu_notifier::{MmuNotifier, MmuNotifierRange, Registration, ReleaseOnly, WouldSleep},
    shared_notifier::{Shared, SharedNotifier},
};
module! { type: Calls, name: "mmcalls", authors: ["h"], description: "attack", license: "GPL", }

static CALLED: Atomic<i32> = Atomic::new(0);
struct Nothing;
impl MmuNotifier for Nothing {
    type Callbacks = ReleaseOnly;
}
impl SharedNotifier for Nothing {
    fn new(_: &MmWithUser) -> Result<Self> {
        Ok(Nothing)
    }
}
impl MmuIntervalNotifier for Nothing {
    type Shadow = usize;
    type Passes = OnePass;
    fn try_invalidate(&self, _: &MmuNotifierRange<'_>, _: &mut usize) -> Result<(), WouldSleep> {
        Ok(())
    }
}
impl Invalidate for Nothing {
    fn invalidate(&self, _: &MmuNotifierRange<'_>, _: &mut usize) {}
}
impl MirrorDevice for Nothing {
    fn invalidate(&self, _: &MmuNotifierRange<'_>) {}
    fn try_invalidate(&self, _: &MmuNotifierRange<'_>) -> Result<(), WouldSleep> {
        Ok(())
    }
}
#[pin_data]
struct Irq {
    #[pin]
    timer: HrTimer<Self>,
    mm: ARef<MmWithUser>,
    interval: Pin<KBox<Interval<Nothing>>>,
    mirror: Pin<KBox<Mirror<Nothing>>>,
}
fn refused<T>(what: &str, result: Result<T>) {
    if result.err() != Some(EDEADLK) {
        pr_err!("mmcalls: BAD: {what} is not refused\n");
    }
}
impl HrTimerCallback for Irq {
    type Pointer<'a> = Arc<Self>;
    fn run(
        this: ArcBorrow<'_, Self>,
        mut context: HrTimerCallbackContext<'_, Self>,
    ) -> HrTimerRestart {
        let (mm, mut pfns) = (&*this.mm, [Pfn::default()]);
        refused(
            "read",
            this.interval.read(|| Ok(()), |_, count| *count += 1),
        );
        refused(
            "read_timeout",
            this.interval
                .read_timeout(Delta::from_millis(1), || Ok(()), |_, count| *count += 1),
        );
        refused("fault", this.mirror.fault(mm, 4096, 1, Request::Read, None));
        refused("snapshot", this.mirror.snapshot(mm, 4096, &mut pfns));
        refused("make_exclusive", this.mirror.make_exclusive(mm, 4096));
        refused("get", Shared::<Nothing>::get(mm));
        refused(
            "new",
            KBox::pin_init(Registration::new(mm, Nothing), GFP_ATOMIC),
        );
        let interval = new_mmu_interval_notifier!(mm, 4096, 4096, Nothing, 0);
        refused(
            "new_mmu_interval_notifier",
            KBox::pin_init(interval, GFP_ATOMIC),
        );
        refused(
            "new_mirror",
            KBox::pin_init(new_mirror!(mm, 4096, 4096, Nothing), GFP_ATOMIC),
        );
        CALLED.fetch_add(1, Full);
        context.forward_now(Delta::from_micros(300));
        HrTimerRestart::Restart
    }
}
impl_has_hr_timer! {
    impl HasHrTimer<Self> for Irq { mode: RelativeMode<Monotonic>, field: self.timer }
}
struct Calls;
impl kernel::Module for Calls {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        let irq = Arc::pin_init(
            try_pin_init!(Irq {
                timer <- HrTimer::new(),
                mm: ARef::from(mm),
                interval: KBox::pin_init(
                    new_mmu_interval_notifier!(mm, 4096, 4096, Nothing, 0),
                    GFP_KERNEL
                )?,
                mirror: KBox::pin_init(new_mirror!(mm, 4096, 4096, Nothing), GFP_KERNEL)?,
            }? Error),
            GFP_KERNEL,
        )?;
        let timer = irq.clone().start(Delta::from_micros(300));
        // Let the timer interrupt a task that holds the lock, too.
        for _ in 0..20000 {
            irq.interval.shadow().with(|count| *count += 1);
            irq.interval.read(|| Ok(()), |_, count| *count += 1)?;
        }
        while CALLED.load(Relaxed) < 10 {
            fsleep(Delta::from_millis(1));
        }
        drop(timer);
        pr_info!("mmcalls: all called {} times\n", CALLED.load(Relaxed));
        Ok(Calls)
    }
}
