// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Registers misc devices under odd names and under names of up to 70000 bytes.
//!
//! A name may contain `%`, `/` and other characters that `printk()`, sysfs or uevents treat
//! specially. The uevent of a device has a buffer of 2 KiB, and the kernel warns about a longer
//! name.
//!
//! A sound library registers the device or refuses the name (with `EINVAL` if it is longer than
//! 255 bytes), without a warning of the kernel.
use kernel::prelude::*;
use tether::misc_device::*;
module! { type: M, name: "names", authors: ["h"], description: "attack", license: "GPL", }
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
}
fn try_name(name: &'static CStr) {
    let device = KBox::pin_init(
        MiscDeviceRegistration::<Dev>::register(MiscDeviceOptions { name }),
        GFP_KERNEL,
    );
    pr_info!(
        "names: {} bytes: {:?}\n",
        name.to_bytes().len(),
        device.err()
    );
}
static LONG_256: [u8; 256] = name();
static LONG_301: [u8; 301] = name();
static LONG_1001: [u8; 1001] = name();
static LONG_2041: [u8; 2041] = name();
static LONG_3001: [u8; 3001] = name();
static LONG_70001: [u8; 70001] = name();
const fn name<const N: usize>() -> [u8; N] {
    let mut bytes = [b'x'; N];
    bytes[N - 1] = 0;
    bytes
}
fn long<const N: usize>(bytes: &'static [u8; N]) {
    if let Ok(name) = CStr::from_bytes_with_nul(bytes) {
        try_name(name);
    }
}
struct M;
impl kernel::Module for M {
    fn init(_: &'static ThisModule) -> Result<Self> {
        try_name(c"%s%n%p");
        try_name(c"a/b");
        try_name(c"..");
        try_name(c"a!b c\n=d");
        long::<256>(&LONG_256);
        long::<301>(&LONG_301);
        long::<1001>(&LONG_1001);
        long::<2041>(&LONG_2041);
        long::<3001>(&LONG_3001);
        long::<70001>(&LONG_70001);
        pr_info!("names: done\n");
        Ok(M)
    }
}
