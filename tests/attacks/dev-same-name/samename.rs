// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Two devices of one name.
// what it attacks: sysfs reports a name that another device has, with a stack trace.
use kernel::prelude::*;
use tether::misc_device::*;
module! { type: M, name: "samename", authors: ["h"], description: "attack", license: "GPL", }
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
}
struct M;
impl kernel::Module for M {
    fn init(_: &'static ThisModule) -> Result<Self> {
        let make = || {
            KBox::pin_init(
                MiscDeviceRegistration::<Dev>::register(MiscDeviceOptions { name: c"samename" }),
                GFP_KERNEL,
            )
        };
        let first = make()?;
        pr_info!("samename: the second: {:?}\n", make().err());
        drop(first);
        pr_info!("samename: the third: {:?}\n", make().err());
        Ok(M)
    }
}
