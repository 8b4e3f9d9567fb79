// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! A read that fails with `EIOCBQUEUED`.
// what it attacks: `returned()` passes every error of a driver on. `vfs_read()` has a BUG_ON() for
// this one, and an asynchronous request that returns it is never completed.
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
