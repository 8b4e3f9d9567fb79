// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Panics in the closure of `with_mm()` in a kernel thread.
//!
//! The exit of the thread calls `exit_mm()`, which drops a reference to the users of the
//! address space. If the thread did not own one, the process would lose its address space.
//!
//! A sound library lets the process and its address space live on: it exits with its own exit
//! code.
use kernel::{
    fs::File,
    ioctl::_IO,
    mm::MmWithUser,
    prelude::*,
    sync::{aref::ARef, Arc},
    time::{delay::fsleep, Delta},
};
use tether::{kthread, misc_device::*};
module! { type: M, name: "mmpanic", authors: ["h"], description: "attack", license: "GPL", }
const GO: u32 = _IO(0xBB, 1);
struct Dev {
    mm: Arc<ARef<MmWithUser>>,
}
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        let task = kernel::current!();
        let mm: ARef<MmWithUser> = task.mm().ok_or(EINVAL)?.into();
        Ok(KBox::new(
            Dev {
                mm: Arc::new(mm, GFP_KERNEL)?,
            },
            GFP_KERNEL,
        )?)
    }
    fn ioctl(me: &Self, _: &File, command: u32, count: usize) -> Result<isize> {
        if command != GO {
            return Err(ENOTTY);
        }
        for _ in 0..count {
            let mm = me.mm.clone();
            let thread = kthread::spawn(c"mmpanic", move |context| {
                context.with_mm(&mm, || panic!("mmpanic: as intended"));
            })?;
            fsleep(Delta::from_millis(500));
            core::mem::forget(thread);
        }
        pr_info!("mmpanic: {count} threads are gone\n");
        // Take and drop references, to detect a count that the panics have made too low: the
        // reference of the file would then refer to an address space that has ended.
        let mm = me.mm.clone();
        kthread::spawn(c"mmdrop", move |_| {
            for _ in 0..8 {
                drop(ARef::clone(&mm));
            }
        })?
        .join()?;
        pr_info!("mmpanic: references were taken and dropped\n");
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
            dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"mmpanic" }),
        })
    }
}
