// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Reads user memory by `with_mm()` in a thread, where page faults are not served.
//!
//! The memory is registered with a userfaultfd that no process reads. A request to stop is no
//! fatal signal: if the fault were retried after each interrupted wait, the thread would spin
//! in the kernel, and `rmmod` would wait for it as long as the user likes.
//!
//! A sound library lets the read fail when the thread is asked to stop, and `rmmod` returns.
use kernel::{
    fs::File,
    ioctl::_IO,
    prelude::*,
    sync::aref::ARef,
    uaccess::{UserPtr, UserSlice},
};
use tether::{kthread, misc_device::*, mm::MmWithUser};
module! { type: M, name: "withuffd", authors: ["h"], description: "attack", license: "GPL", }
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
    fn ioctl(_: &Self, _: &File, command: u32, address: usize) -> Result<isize> {
        if command != _IO(0xBB, 1) {
            return Err(ENOTTY);
        }
        let current = kernel::current!();
        let mm: ARef<MmWithUser> = current.mm().ok_or(EINVAL)?.into();
        let thread = kthread::spawn(c"withuffd", move |context| {
            let read = context.with_mm(&mm, || {
                UserSlice::new(UserPtr::from_addr(address), 4)
                    .reader()
                    .read::<u32>()
            });
            pr_info!("withuffd: read {read:?}\n");
        })?;
        pr_info!("withuffd: thread {}\n", thread.task().pid());
        core::mem::forget(thread);
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
            dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"withuffd" }),
        })
    }
}
