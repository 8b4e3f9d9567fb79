// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Waits for a stopped task in a notifier that `ksmd` calls.
//!
//! `ksmd`, `khugepaged`, `kswapd` and threaded interrupt handlers receive no signals, so that no
//! signal ends a `Pending::wait()` in such a thread. If the library did not refuse the wait, a
//! killed process would not exit, and KSM could not be disabled, as long as the task is stopped.
//!
//! A sound library refuses the wait with `EDEADLK`, as in the exit of a task and in a worker of a
//! workqueue.
use kernel::{
    fs::File,
    ioctl::_IO,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
    },
    task::Task,
};
use tether::{
    misc_device::*,
    mm::mmu_notifier::{InvalidateRanges, MmuNotifier, MmuNotifierRange, Ranges, Registration},
    pid,
    task_work::{self, NotifyMode},
};
module! { type: M, name: "waitksmd", authors: ["h"], description: "attack", license: "GPL", }
struct Asks {
    stopped: ARef<Task>,
    asked: Atomic<bool>,
}
impl MmuNotifier for Asks {
    type Callbacks = Ranges;
}
#[vtable]
impl InvalidateRanges for Asks {
    fn invalidate_range_start(&self, _: &MmuNotifierRange<'_>) {
        let current = kernel::current!();
        if current.mm().is_some() || self.asked.load(Relaxed) {
            return;
        }
        self.asked.store(true, Relaxed);
        pr_info!("waitksmd: waits in {}\n", current.pid());
        if let Ok(pending) =
            task_work::add_fn(&self.stopped, |_| (), NotifyMode::Signal, GFP_KERNEL)
        {
            pr_info!("waitksmd: waited: {:?}\n", pending.wait());
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
    fn ioctl(_: &Self, _: &File, command: u32, stopped: usize) -> Result<isize> {
        if command != _IO(0xBB, 1) {
            return Err(ENOTTY);
        }
        let stopped = pid::find_task(stopped as i32).ok_or(ESRCH)?;
        let current = kernel::current!();
        let mm = current.mm().ok_or(EINVAL)?;
        let asks = Asks {
            stopped,
            asked: Atomic::new(false),
        };
        core::mem::forget(KBox::pin_init(Registration::new(mm, asks), GFP_KERNEL)?);
        Ok(0)
    }
}
#[pin_data]
struct M {
    #[pin]
    dev: MiscDeviceRegistration<Dev>,
}
impl kernel::InPlaceModule for M {
    fn init(_: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"waitksmd" }),
        })
    }
}
