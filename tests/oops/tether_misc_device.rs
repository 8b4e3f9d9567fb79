// SPDX-License-Identifier: GPL-2.0

//! The counterpart of `misc_device.rs` with Tether: module teardown deregisters the device.

use kernel::prelude::*;
use tether::misc_device::{
    MiscDevice,
    MiscDeviceOptions,
    MiscDeviceRegistration,
    TransientFile, //
};

module! {
    type: Module,
    name: "tether_misc_device",
    authors: ["The Tether developers"],
    description: "A misc device that is deregistered when its module is unloaded",
    license: "GPL",
}

struct Device;

#[vtable]
impl MiscDevice for Device {
    type Ptr = KBox<Self>;

    fn open(_file: &TransientFile, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Self, GFP_KERNEL)?)
    }
}

struct Module;

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let options = MiscDeviceOptions { name: c"forgotten" };
        core::mem::forget(KBox::pin_init(
            MiscDeviceRegistration::<Device>::register(options),
            GFP_KERNEL,
        )?);
        Ok(Self)
    }
}
