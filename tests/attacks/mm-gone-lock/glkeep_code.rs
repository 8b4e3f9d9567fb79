// SPDX-License-Identifier: GPL-2.0
//! Locks the shadow of a registration after the module that has created it was removed.
//!
//! `new_mmu_interval_notifier!` is expanded in `glmake.ko`. If the lock class and the name of the
//! shadow's mutex were statics at this place, the lock would refer to freed memory.
//!
//! A sound library uses a class and a name that stay: the shadow can be locked, and `read()`
//! fails.
use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex, SetOnce},
    time::Delta,
};
use tether::{
    kthread::{self, Thread},
    mm::{
        mmu_interval_notifier::{Invalidate, MmuIntervalNotifier, OnePass, Registration},
        mmu_notifier::{MmuNotifierRange, WouldSleep},
    },
};
module! { type: Keep, name: "glkeep", authors: ["h"], description: "attack", license: "GPL", }

/// The start of the range.
pub const ADDRESS: usize = 0x1000_0000;
#[allow(missing_docs)]
pub struct Watch(pub u64);
impl MmuIntervalNotifier for Watch {
    type Shadow = u64;
    type Passes = OnePass;
    fn try_invalidate(&self, _: &MmuNotifierRange<'_>, _: &mut u64) -> Result<(), WouldSleep> {
        Ok(())
    }
}
impl Invalidate for Watch {
    #[inline(always)]
    fn invalidate(&self, _: &MmuNotifierRange<'_>, n: &mut u64) {
        *n += 1;
    }
}
#[allow(missing_docs)]
pub type Kept = Pin<KBox<Registration<Watch>>>;
#[pin_data]
struct Slot {
    #[pin]
    kept: Mutex<Option<Kept>>,
}
static SLOT: SetOnce<Arc<Slot>> = SetOnce::new();
#[no_mangle]
#[allow(missing_docs)]
pub fn glkeep_keep(registration: Kept) {
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
        let thread = kthread::spawn(c"glkeep", move |context| {
            while !context.sleep_for(Delta::from_millis(100)).is_stopped() {
                let Some(slot) = SLOT.as_ref() else { continue };
                let Some(it) = slot.kept.lock().take() else {
                    continue;
                };
                pr_info!("glkeep: before {}\n", it.shadow().with(|n| *n));
                if context.sleep_for(Delta::from_secs(10)).is_stopped() {
                    break;
                }
                for _ in 0..3 {
                    pr_info!("glkeep: after {}\n", it.shadow().with(|n| *n));
                    pr_info!("glkeep: read {:?}\n", it.read(|| Ok(()), |(), n| *n));
                }
                drop(it);
                pr_info!("glkeep: done\n");
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
