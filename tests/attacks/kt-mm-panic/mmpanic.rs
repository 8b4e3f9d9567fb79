// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Threads that panic in `with_mm()`.
// what it attacks: a kernel thread that dies inside `kthread_use_mm()` goes through `exit_mm()`, which drops a
// reference to the users of the address space, and the thread has none.
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
        // What the file refers to is ended by now. A reference is taken and dropped.
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
