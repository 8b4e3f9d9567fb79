// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Adds works to an `Ordered` queue after its target has died in a callback of the queue.
//!
//! A queue is linked to its target until its callback finds the queue empty. If a closure
//! panics, this callback does not return, and the queue stays linked. A closure that was
//! accepted then would not run, and would pin its module although the task is gone.
//!
//! A sound library refuses the closure with `ESRCH`.
use kernel::{
    fs::File,
    ioctl::_IO,
    prelude::*,
    sync::{Arc, SetOnce},
    time::{delay::fsleep, Delta},
};
use tether::{
    misc_device::*,
    pid,
    task_work::{NotifyMode, Ordered},
};
module! { type: M, name: "ordereddead", authors: ["h"], description: "attack", license: "GPL", }
static QUEUE: SetOnce<Arc<Ordered>> = SetOnce::new();
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
    fn ioctl(_: &Self, _: &File, command: u32, target: usize) -> Result<isize> {
        if command != _IO(0xBB, 1) {
            return Err(ENOTTY);
        }
        let target = pid::find_task(target as i32).ok_or(ESRCH)?;
        let queue = Ordered::new(&target, NotifyMode::Signal)?;
        queue.add_fn(|_| panic!("ordereddead"), GFP_KERNEL)?;
        QUEUE.populate(queue.clone());
        drop(target);
        for _ in 0..5 {
            fsleep(Delta::from_secs(1));
            match queue.add_fn(|_| pr_info!("ordereddead: ran\n"), GFP_KERNEL) {
                Ok(pending) => pr_info!(
                    "ordereddead: accepted, {:?}\n",
                    pending.wait_timeout(Delta::from_millis(100))
                ),
                Err(refused) => pr_info!("ordereddead: refused {:?}\n", refused.error),
            }
        }
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
            dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"ordereddead" }),
        })
    }
}
