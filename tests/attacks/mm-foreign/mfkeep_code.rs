// SPDX-License-Identifier: GPL-2.0
//! Drops a registration of a notifier after the module that has created the registration was
//! removed.
//!
//! The type of the notifier belongs to this module. The registration is created by code in
//! `mfmake.ko`, which is its owner. Its `Kind`, the table of functions that free it, is a
//! constant in that module.
//!
//! A sound library drops the registration without reading memory of the removed module.
use kernel::{
    mm::MmWithUser,
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex, SetOnce},
    time::Delta,
};
use tether::{
    kthread::{self, Thread},
    mm::mmu_notifier::{MmuNotifier, Registration, ReleaseOnly},
};
module! { type: Keep, name: "mfkeep", authors: ["h"], description: "attack", license: "GPL", }

#[allow(missing_docs)]
pub struct Watch(pub u64);
impl MmuNotifier for Watch {
    type Callbacks = ReleaseOnly;
}
/// Registers a notifier. This function is inlined into the module of the caller.
#[inline(always)]
pub fn make(mm: &MmWithUser, n: u64) -> Result<Pin<KBox<Registration<Watch>>>> {
    KBox::pin_init(Registration::new(mm, Watch(n)), GFP_KERNEL)
}
#[pin_data]
struct Slot {
    #[pin]
    kept: Mutex<Option<Pin<KBox<Registration<Watch>>>>>,
}
static SLOT: SetOnce<Arc<Slot>> = SetOnce::new();
#[no_mangle]
#[allow(missing_docs)]
pub fn mfkeep_keep(registration: Pin<KBox<Registration<Watch>>>) {
    if let Some(slot) = SLOT.as_ref() {
        *slot.kept.lock() = Some(registration);
    }
}
struct Keep {
    _thread: Thread<()>,
}
impl kernel::Module for Keep {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        SLOT.populate(Arc::pin_init(
            pin_init!(Slot { kept <- new_mutex!(None) }),
            GFP_KERNEL,
        )?);
        let thread = kthread::spawn(c"mfkeep", move |context| {
            while !context.sleep_for(Delta::from_millis(100)).is_stopped() {
                let Some(slot) = SLOT.as_ref() else { continue };
                if slot.kept.lock().is_none() {
                    continue;
                }
                // `mfmake.ko` is removed during this sleep.
                if context.sleep_for(Delta::from_secs(6)).is_stopped() {
                    break;
                }
                let Some(registration) = slot.kept.lock().take() else {
                    continue;
                };
                pr_info!("mfkeep: dropping {}\n", registration.notifier().0);
                drop(registration);
                context.sleep_for(Delta::from_secs(2));
                pr_info!("mfkeep: done\n");
            }
        })?;
        Ok(Keep { _thread: thread })
    }
}
impl Drop for Keep {
    fn drop(&mut self) {
        if let Some(slot) = SLOT.as_ref() {
            drop(slot.kept.lock().take());
        }
    }
}
