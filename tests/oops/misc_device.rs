// SPDX-License-Identifier: GPL-2.0

//! Forgets the registration of a misc device: the device stays registered, with file operations in
//! the memory of the unloaded module.

use kernel::{
    fs::File,
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*, //
};

module! {
    type: Module,
    name: "misc_device",
    authors: ["The Tether developers"],
    description: "A misc device that is opened after its module was unloaded",
    license: "GPL",
}

struct Device;

#[vtable]
impl MiscDevice for Device {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
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
