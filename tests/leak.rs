// SPDX-License-Identifier: GPL-2.0

//! A module that forgets what it has made: a thread, and notifiers on the process that has loaded
//! it.

use kernel::{
    prelude::*,
    time::Delta, //
};
use tether::{
    kthread::{
        self,
        Wake, //
    },
    mm::{
        interval_notifier::{
            new_interval_notifier,
            IntervalNotifier,
            Registration as IntervalRegistration, //
        },
        mmu_notifier::{
            MmuNotifier,
            Range,
            Registration, //
        },
        Mm, //
    }, //
};

module! {
    type: Leak,
    name: "leak",
    authors: ["The Tether developers"],
    description: "Test: a module that forgets what it has made",
    license: "GPL",
}

struct Leak;

struct Notifier;

#[vtable]
impl MmuNotifier for Notifier {
    fn invalidate_range_start(&self, _range: &Range<'_>) {}

    fn invalidate_range_end(&self, _range: &Range<'_>) {}

    fn release(&self, _mm: &Mm) {
        pr_info!("released\n");
    }
}

impl IntervalNotifier for Notifier {
    type Shadow = ();

    fn invalidate(&self, _range: &Range<'_>, _shadow: &mut ()) {}
}

impl kernel::Module for Leak {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let thread = kthread::spawn(c"leak", |context| {
            while context.sleep_for(Delta::from_millis(1)) != Wake::Stopped {}
            pr_info!("stopped\n");
        })?;
        core::mem::forget(thread);
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        core::mem::forget(KBox::pin_init(Registration::new(mm, Notifier), GFP_KERNEL)?);
        let interval: Pin<KBox<IntervalRegistration<Notifier>>> = KBox::pin_init(
            new_interval_notifier!(mm, 0, 1 << 46, Notifier, ()),
            GFP_KERNEL,
        )?;
        core::mem::forget(interval);
        Ok(Self)
    }
}
