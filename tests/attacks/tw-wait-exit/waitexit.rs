// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Waits for a closure on a stopped task, in a callback that runs in the exit of its task.
//!
//! `wait()` sleeps interruptibly, but a task in its exit gets no signals. A limit of 30 days
//! does not help either.
//!
//! A sound library refuses both waits with `EDEADLK`, and the task exits.
use kernel::{fs::File, ioctl::_IO, prelude::*, time::Delta};
use tether::{
    misc_device::*,
    pid,
    task_work::{self, NotifyMode},
};
module! { type: M, name: "waitexit", authors: ["h"], description: "attack", license: "GPL", }
const WAIT: u32 = _IO(0xBB, 1);
const WAIT_TIMEOUT: u32 = _IO(0xBB, 2);
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
    fn ioctl(_: &Self, _: &File, command: u32, stopped: usize) -> Result<isize> {
        let limit = match command {
            WAIT => None,
            WAIT_TIMEOUT => Some(Delta::from_secs(86400 * 30)),
            _ => return Err(ENOTTY),
        };
        let stopped = pid::find_task(stopped as i32).ok_or(ESRCH)?;
        task_work::add_fn(
            kernel::current!(),
            move |context| {
                let pending =
                    match task_work::add_fn(&stopped, |_| (), NotifyMode::Signal, GFP_KERNEL) {
                        Ok(pending) => pending,
                        Err(refused) => return pr_err!("waitexit: {:?}\n", refused.error),
                    };
                pr_info!("waitexit: exiting {}\n", context.is_exiting());
                let waited =
                    limit.map_or_else(|| pending.wait(), |limit| pending.wait_timeout(limit));
                pr_info!("waitexit: waited: {waited:?}\n");
            },
            NotifyMode::None,
            GFP_KERNEL,
        )?;
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
            dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"waitexit" }),
        })
    }
}
