// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Waits killably for a thread in `release()` of a file, which the exit of a killed task calls.
//!
//! A task that has passed `exit_signals()` gets no signals, so that nothing could end a
//! killable wait there. The same holds in a task work of such a task.
//!
//! A sound library returns `EINTR` with the handle, and the task exits.
use kernel::{
    fs::File,
    ioctl::_IO,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, SetOnce,
    },
    time::Delta,
};
use tether::{
    kthread::{self, Thread},
    misc_device::*,
};
module! { type: M, name: "killexit", authors: ["h"], description: "attack", license: "GPL", }
static END: SetOnce<Arc<Atomic<u32>>> = SetOnce::new();
struct Dev {
    thread: Option<Thread<()>>,
}
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(file: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        let end = END.as_ref().ok_or(EIO)?;
        // Opening the device for reading lets the threads of all files return.
        if file.flags() & 3 == 0 {
            end.store(1, Relaxed);
            return Ok(KBox::new(Dev { thread: None }, GFP_KERNEL)?);
        }
        let end = end.clone();
        let thread = kthread::spawn(c"killexit", move |context| {
            while end.load(Relaxed) == 0 {
                context.sleep_for(Delta::from_millis(100));
            }
        })?;
        Ok(KBox::new(
            Dev {
                thread: Some(thread),
            },
            GFP_KERNEL,
        )?)
    }
    fn release(mut device: KBox<Self>, _: &TransientFile) {
        if let Some(thread) = device.thread.take() {
            pr_info!("killexit: joins\n");
            match thread.join_killable() {
                Ok(()) => pr_info!("killexit: joined\n"),
                Err(refused) => {
                    pr_info!("killexit: {:?}\n", refused.error);
                    core::mem::forget(refused.item);
                }
            }
        }
    }
    fn ioctl(_: &Self, _: &File, _: u32, _: usize) -> Result<isize> {
        let _ = _IO(0xBB, 1);
        Err(ENOTTY)
    }
}
#[pin_data]
struct M {
    #[pin]
    dev: MiscDeviceRegistration<Dev>,
}
impl kernel::InPlaceModule for M {
    fn init(_: &'static ThisModule) -> impl PinInit<Self, Error> {
        if let Ok(end) = Arc::new(Atomic::new(0u32), GFP_KERNEL) {
            END.populate(end);
        }
        try_pin_init!(Self {
            dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"killexit" }),
        })
    }
}
