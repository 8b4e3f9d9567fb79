// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Drops registrations with a spinlock held that interrupts take.
//!
//! Registrations may be dropped in any context. If the lock of the owner's list were held with
//! interrupts enabled, its holder could be interrupted by a taker of the other lock, and this
//! would be a deadlock.
//!
//! A sound library does not take such a lock where interrupts are disabled: `insmod` returns.
use kernel::{
    impl_has_hr_timer, new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, ArcBorrow, SpinLockIrq,
    },
    time::{
        hrtimer::{
            HrTimer, HrTimerCallback, HrTimerCallbackContext, HrTimerPointer, HrTimerRestart,
            RelativeMode,
        },
        Delta, Instant, Monotonic,
    },
};
use tether::mm::{
    mmu_interval_notifier::{
        new_mmu_interval_notifier, Invalidate, MmuIntervalNotifier, OnePass,
        Registration as Interval,
    },
    mmu_notifier::{MmuNotifierRange, WouldSleep},
};
module! { type: Drops, name: "irqlock", authors: ["h"], description: "attack", license: "GPL", }
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
type Handle = Pin<KBox<Interval<N>>>;
static FIRED: Atomic<i32> = Atomic::new(0);
#[pin_data]
struct Irq {
    #[pin]
    timer: HrTimer<Self>,
    held: Arc<SpinLockIrq<Option<Handle>>>,
}
impl HrTimerCallback for Irq {
    type Pointer<'a> = Arc<Self>;
    fn run(
        this: ArcBorrow<'_, Self>,
        mut context: HrTimerCallbackContext<'_, Self>,
    ) -> HrTimerRestart {
        let _there = this.held.lock().is_some();
        FIRED.fetch_add(1, Relaxed);
        context.forward_now(Delta::from_micros(100));
        HrTimerRestart::Restart
    }
}
impl_has_hr_timer! {
    impl HasHrTimer<Self> for Irq { mode: RelativeMode<Monotonic>, field: self.timer }
}
struct Drops;
impl kernel::Module for Drops {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        let slot = Arc::pin_init(new_spinlock_irq!(None::<Handle>), GFP_KERNEL)?;
        let held = slot.clone();
        let irq = Arc::pin_init(
            pin_init!(Irq { timer <- HrTimer::new(), held: held }),
            GFP_KERNEL,
        )?;
        let timer = irq.clone().start(Delta::from_micros(100));
        let begun: Instant<Monotonic> = Instant::now();
        let (other, its) = (kernel::sync::aref::ARef::from(mm), slot.clone());
        let thread = tether::kthread::spawn(c"irqlock", move |context| {
            while !context.should_stop() {
                let Ok(h) = KBox::pin_init(
                    new_mmu_interval_notifier!(&*other, 4096, 4096, N, ()),
                    GFP_KERNEL,
                ) else {
                    continue;
                };
                // This drops the previous registration with the lock held.
                *its.lock() = Some(h);
            }
            let h = its.lock().take();
            drop(h);
        })?;
        let mut n = 0;
        while begun.elapsed() < Delta::from_secs(25) {
            drop(KBox::pin_init(
                new_mmu_interval_notifier!(mm, 8192, 4096, N, ()),
                GFP_KERNEL,
            )?);
            n += 1;
        }
        drop(thread);
        drop(timer);
        pr_info!(
            "irqlock: done: {} drops, {} interrupts\n",
            n,
            FIRED.load(Relaxed)
        );
        Ok(Drops)
    }
}
