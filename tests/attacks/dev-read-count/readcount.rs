// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! A read that returns more bytes than there is room for.
// what it attacks: the number of bytes is passed on as it is. Callers in the kernel
// (`kernel_read()` of 9p over a descriptor, for instance) go on behind their buffer, and as a
// negative number it is any error.
use kernel::{iov::IovIterDest, prelude::*};
use tether::misc_device::*;
module! { type: M, name: "readcount", authors: ["h"], description: "attack", license: "GPL", }
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
    fn read_iter(_: Kiocb<'_, KBox<Self>>, _: &mut IovIterDest<'_>) -> Result<usize> {
        Ok(1 << 20)
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
            dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"readcount" }),
        })
    }
}
