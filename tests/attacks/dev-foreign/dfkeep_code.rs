// SPDX-License-Identifier: GPL-2.0
//! Uses and drops registrations of misc devices that belong to another module.
//!
//! `dfmake.ko` registers the devices and passes the registrations to this module. The functions
//! of the driver are monomorphised in `dfmake.ko`. This module uses and drops the registrations
//! before, during and after the removal of `dfmake.ko`, or its failed init, while a process
//! opens the devices all the time.
//!
//! A sound library deregisters the devices before the text of `dfmake.ko` is freed. A
//! registration that is used or dropped afterwards accesses nothing of that module.
use kernel::{
    fs::File,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Mutex, SetOnce,
    },
    time::{delay::fsleep, Delta},
};
use tether::{
    kthread::{self, Thread},
    misc_device::*,
};
module! { type: Keep, name: "dfkeep", authors: ["h"], description: "attack", license: "GPL", }
#[allow(missing_docs)]
pub static OPENED: Atomic<i32> = Atomic::new(0);
/// A driver. Its functions are monomorphised in the module that registers the device.
pub struct Dev(KBox<[u64; 4]>);
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    #[inline]
    fn open(_: &TransientFile, misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        let _ = misc.device().name();
        Ok(KBox::new(Dev(KBox::new([7; 4], GFP_KERNEL)?), GFP_KERNEL)?)
    }
    #[inline]
    fn ioctl(me: &Self, _: &File, _: u32, n: usize) -> Result<isize> {
        Ok(me.0[n % 4] as isize)
    }
}
type Kept = Pin<KBox<MiscDeviceRegistration<Dev>>>;
#[pin_data]
struct Slot {
    #[pin]
    kept: Mutex<KVec<Kept>>,
}
static SLOT: SetOnce<Pin<KBox<Slot>>> = SetOnce::new();
static DROPPED: Atomic<i32> = Atomic::new(0);
#[no_mangle]
#[allow(missing_docs)]
pub fn dfkeep_keep(registration: Kept) {
    if let Some(slot) = SLOT.as_ref() {
        let _ = slot.kept.lock().push(registration, GFP_KERNEL);
    }
}
#[allow(missing_docs)]
pub struct Keep {
    _thread: Thread<()>,
}
impl kernel::Module for Keep {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        SLOT.populate(KBox::pin_init(
            pin_init!(Slot { kept <- new_mutex!(KVec::new()) }),
            GFP_KERNEL,
        )?);
        let thread = kthread::spawn(c"dfkeep", |context| {
            let mut seed = 88172645463325252u64;
            while !context.should_stop() {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                fsleep(Delta::from_micros((seed % 30000) as i64));
                let Some(slot) = SLOT.as_ref() else { continue };
                let mut kept = slot.kept.lock();
                for registration in kept.iter() {
                    let _ = registration.device().name().to_bytes().len();
                }
                let one = kept.pop();
                drop(kept);
                if let Some(one) = one {
                    fsleep(Delta::from_micros((seed >> 32) as i64 % 20000));
                    let _ = one.device().name().to_bytes().len();
                    drop(one);
                    DROPPED.fetch_add(1, Relaxed);
                }
            }
        })?;
        Ok(Keep { _thread: thread })
    }
}
impl Drop for Keep {
    fn drop(&mut self) {
        if let Some(slot) = SLOT.as_ref() {
            drop(core::mem::take(&mut *slot.kept.lock()));
        }
        pr_info!("dfkeep: dropped {}\n", DROPPED.load(Relaxed));
    }
}
