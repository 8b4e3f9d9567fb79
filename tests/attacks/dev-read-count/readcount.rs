// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Returns more bytes from `read_iter()` than the caller has requested.
//!
//! Callers in the kernel, such as `kernel_read()` of 9p on a file descriptor, trust the count
//! and continue behind the end of their buffer. A count that does not fit into `isize` becomes
//! an arbitrary negative error.
//!
//! A sound library fails with `EIO`: `read()` does not return more than the requested bytes.
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
