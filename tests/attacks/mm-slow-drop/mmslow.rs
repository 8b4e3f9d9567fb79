// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Its notifier takes half a minute to be dropped.
// what it attacks: registrations on one address space are removed and freed by one work item, one after the
// other, whichever modules they belong to.
use kernel::{prelude::*, time::{delay::fsleep, Delta}};
use tether::{
    misc_device::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration, TransientFile},
    mm::mmu_notifier::{MmuNotifier, Registration, ReleaseOnly},
};
module! { type: Watches, name: "mmslow", authors: ["h"], description: "attack", license: "GPL", }

struct Watch;
impl MmuNotifier for Watch {
    type Callbacks = ReleaseOnly;
}
impl Drop for Watch {
    fn drop(&mut self) {
        pr_info!("mmslow: dropping\n");
        fsleep(Delta::from_secs(30));
        pr_info!("mmslow: dropped\n");
    }
}
#[vtable]
impl MiscDevice for Watch {
    type Ptr = Pin<KBox<Registration<Watch>>>;

    fn open(_file: &TransientFile, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        KBox::pin_init(Registration::new(mm, Watch), GFP_KERNEL)
    }
}
#[pin_data]
struct Watches {
    #[pin]
    _device: MiscDeviceRegistration<Watch>,
}
impl kernel::InPlaceModule for Watches {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"mmslow" }),
        })
    }
}
