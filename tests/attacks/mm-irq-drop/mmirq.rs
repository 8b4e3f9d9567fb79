// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Drops 30 registrations in a timer interrupt.
//!
//! The lock of the owner's list cannot be taken there, so that a library might leave the
//! removal to the teardown of the module.
//!
//! A sound library removes and frees each registration. No payload is left when the module has
//! been removed.
use kernel::{
    impl_has_hr_timer, new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        Arc, ArcBorrow, SpinLockIrq,
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
    mmu_interval_notifier::{
        new_mmu_interval_notifier, Invalidate, MmuIntervalNotifier, OnePass,
        Registration as Interval,
    },
    mmu_notifier::{MmuNotifier, MmuNotifierRange, Registration, ReleaseOnly, WouldSleep},
};
module! { type: Drops, name: "mmirq", authors: ["h"], description: "attack", license: "GPL", }

static LIVE: Atomic<i32> = Atomic::new(0);
static DROPPED_IN_IRQ: Atomic<i32> = Atomic::new(0);
struct Canary;
impl Canary {
    fn new() -> Self {
        LIVE.fetch_add(1, Full);
        Canary
    }
}
impl Drop for Canary {
    fn drop(&mut self) {
        match LIVE.fetch_sub(1, Full) {
            1 => pr_info!("mmirq: none left\n"),
            n if n <= 0 => pr_err!("mmirq: BAD: dropped twice\n"),
            _ => {}
        }
    }
}
impl MmuNotifier for Canary {
    type Callbacks = ReleaseOnly;
}
impl MmuIntervalNotifier for Canary {
    type Shadow = ();
    type Passes = OnePass;
    fn try_invalidate(&self, _: &MmuNotifierRange<'_>, _: &mut ()) -> Result<(), WouldSleep> {
        Ok(())
    }
}
impl Invalidate for Canary {
    fn invalidate(&self, _: &MmuNotifierRange<'_>, _: &mut ()) {}
}
#[allow(dead_code)]
enum Handle {
    Plain(Pin<KBox<Registration<Canary>>>),
    Interval(Pin<KBox<Interval<Canary>>>),
}
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
        let handle = this.held.lock().take();
        if handle.is_some() {
            DROPPED_IN_IRQ.fetch_add(1, Relaxed);
            drop(handle);
        }
        context.forward_now(Delta::from_micros(700));
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
        let timer = irq.clone().start(Delta::from_micros(700));
        for n in 0..30usize {
            let handle = match n % 2 {
                0 => Handle::Plain(KBox::pin_init(
                    Registration::new(mm, Canary::new()),
                    GFP_KERNEL,
                )?),
                _ => Handle::Interval(KBox::pin_init(
                    new_mmu_interval_notifier!(mm, 4096 * n, 4096, Canary::new(), ()),
                    GFP_KERNEL,
                )?),
            };
            *slot.lock() = Some(handle);
            while slot.lock().is_some() {
                fsleep(Delta::from_millis(1));
            }
        }
        drop(timer);
        pr_info!(
            "mmirq: dropped in interrupts {}, payloads left {}\n",
            DROPPED_IN_IRQ.load(Relaxed),
            LIVE.load(Relaxed)
        );
        Ok(Drops)
    }
}
