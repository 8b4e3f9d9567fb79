// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Adds an `Arc` from two modules in turn, while its target runs it.
//!
//! The module that adds an item becomes the owner of its node. The item can be added again as
//! soon as its target has claimed the node. If the target read the functions and the pins of
//! the node after the claim, it might drop a pin of the other module. A timer interrupts the
//! target often, to hit this window.
//!
//! A sound library runs each add and drops the pin of the right module: both modules can be
//! removed.
use kernel::{
    impl_has_hr_timer,
    prelude::*,
    sync::{atomic::Relaxed, Arc, ArcBorrow},
    time::{
        delay::udelay,
        hrtimer::{
            HrTimer, HrTimerCallback, HrTimerCallbackContext, HrTimerPointer, HrTimerRestart,
            RelativeMode,
        },
        Delta, Monotonic,
    },
};
use tether::{
    kthread::{self, Thread},
    pid,
    task_work::{self, NotifyMode},
};
module! {
    type: M, name: "adoptrace", authors: ["h"], description: "attack", license: "GPL",
    params: { target: i64 { default: 0, description: "pid", }, },
}
#[pin_data]
struct Irq {
    #[pin]
    timer: HrTimer<Self>,
}
impl HrTimerCallback for Irq {
    type Pointer<'a> = Arc<Self>;
    fn run(
        _: ArcBorrow<'_, Self>,
        mut context: HrTimerCallbackContext<'_, Self>,
    ) -> HrTimerRestart {
        udelay(Delta::from_micros(5));
        context.forward_now(Delta::from_micros(23));
        HrTimerRestart::Restart
    }
}
impl_has_hr_timer! {
    impl HasHrTimer<Self> for Irq { mode: RelativeMode<Monotonic>, field: self.timer }
}
struct M {
    _thread: Thread<()>,
}
impl kernel::Module for M {
    fn init(_: &'static ThisModule) -> Result<Self> {
        let task = pid::find_task(module_parameters::target.value() as i32).ok_or(ESRCH)?;
        let item = adoptlib::make()?;
        let irq = Arc::pin_init(pin_init!(Irq { timer <- HrTimer::new() }), GFP_KERNEL)?;
        let timer = irq.start(Delta::from_micros(50));
        let thread = kthread::spawn(c"adoptrace", move |context| {
            let (mut error, mut added, mut tries) = (None, 0u32, 0u32);
            'all: for _ in 0..30_000 {
                for other in [false, true] {
                    for _ in 0..100_000 {
                        tries = tries.wrapping_add(1);
                        let refused = if other {
                            adoptlib::adoptlib_add(&task, item.clone())
                        } else {
                            task_work::add(&task, item.clone(), NotifyMode::Resume)
                                .err()
                                .map(|refused| refused.error)
                        };
                        match refused {
                            None => {
                                added += 1;
                                break;
                            }
                            Some(EBUSY) => {}
                            other => {
                                error = other;
                                break 'all;
                            }
                        }
                    }
                }
                if added % 512 == 0 && context.sleep_for(Delta::from_micros(20)).is_stopped() {
                    break;
                }
            }
            drop(timer);
            let waited = task_work::wait(&item);
            pr_info!(
                "adoptrace: added {added} in {tries}, ran {}, waited {waited:?}, refused {error:?}\n",
                item.runs.load(Relaxed)
            );
        })?;
        Ok(M { _thread: thread })
    }
}
