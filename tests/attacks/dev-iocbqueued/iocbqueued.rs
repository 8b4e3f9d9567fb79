// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Returns `EIOCBQUEUED` from `read_iter()` of a misc device.
//!
//! This error promises that the request is completed later. The driver does not complete the
//! request, and `new_sync_read()` of the kernel has a `BUG_ON()` for this error.
//!
//! A sound library returns another error (`EIO`) to the caller of `read()`.
use kernel::{iov::IovIterDest, prelude::*};
use tether::misc_device::*;
module! { type: M, name: "iocbqueued", authors: ["h"], description: "attack", license: "GPL", }
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
    fn read_iter(_: Kiocb<'_, KBox<Self>>, _: &mut IovIterDest<'_>) -> Result<usize> {
        Err(EIOCBQUEUED)
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
            dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"iocbqueued" }),
        })
    }
}
