// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Adds and cancels 4000 closures in each of 100 queues to one stopped task.
//!
//! A cancelled closure stays linked until the target runs. Only 4096 such works are allowed on
//! one target, so that a loop of adding and cancelling does not use up memory. If the limit
//! held for each list separately, each further queue would allow as many again.
//!
//! A sound library counts the cancelled works in the list and in all queues of the task, and
//! then fails with `EAGAIN`.
use kernel::{fs::File, ioctl::_IO, prelude::*};
use tether::{
    misc_device::*,
    pid,
    task_work::{NotifyMode, Ordered},
};
module! { type: M, name: "orphanq", authors: ["h"], description: "attack", license: "GPL", }
const GO: u32 = _IO(0xBB, 1);
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
    fn ioctl(_: &Self, _: &File, command: u32, stopped: usize) -> Result<isize> {
        if command != GO {
            return Err(ENOTTY);
        }
        let stopped = pid::find_task(stopped as i32).ok_or(ESRCH)?;
        let mut cancelled = 0usize;
        'all: for _ in 0..100 {
            let queue = Ordered::new(&stopped, NotifyMode::Resume)?;
            for _ in 0..4000 {
                let data = [7u64; 32];
                match queue.add_fn(move |_| pr_info!("{}", data[3]), GFP_KERNEL) {
                    Ok(pending) => {
                        let _ = pending.cancel();
                        cancelled += 1;
                    }
                    Err(refused) => {
                        pr_info!("orphanq: {:?}\n", refused.error);
                        break 'all;
                    }
                }
            }
        }
        pr_info!("orphanq: {cancelled} cancelled\n");
        Ok((cancelled / 1000) as isize)
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
            dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"orphanq" }),
        })
    }
}
