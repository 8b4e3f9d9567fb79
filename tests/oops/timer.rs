// SPDX-License-Identifier: GPL-2.0

//! Forgets the handle of a timer. `core::mem::forget()` is safe, hence the handle's destructor,
//! which cancels the timer, is no guarantee that the timer is cancelled before the module is
//! unloaded.

use kernel::{
    impl_has_hr_timer,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    time::{
        hrtimer::{
            HrTimer,
            HrTimerCallback,
            HrTimerCallbackContext,
            HrTimerPointer,
            HrTimerRestart,
            RelativeMode, //
        },
        Delta,
        Monotonic, //
    }, //
};

module! {
    type: Module,
    name: "timer",
    authors: ["The Tether developers"],
    description: "A timer that expires after its module was unloaded",
    license: "GPL",
}

#[pin_data]
struct Later {
    #[pin]
    timer: HrTimer<Self>,
}

impl HrTimerCallback for Later {
    type Pointer<'a> = Arc<Self>;

    fn run(
        _this: ArcBorrow<'_, Self>,
        _context: HrTimerCallbackContext<'_, Self>,
    ) -> HrTimerRestart {
        pr_info!("the timer has expired\n");
        HrTimerRestart::NoRestart
    }
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Later {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

struct Module;

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let later = Arc::pin_init(
            pin_init!(Later {
                timer <- HrTimer::new(),
            }),
            GFP_KERNEL,
        )?;
        core::mem::forget(later.start(Delta::from_secs(1)));
        Ok(Self)
    }
}
