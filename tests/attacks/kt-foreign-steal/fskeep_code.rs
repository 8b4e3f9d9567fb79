// SPDX-License-Identifier: GPL-2.0
//! Drops the handle of another module's thread while the teardown of that module waits for it.
//!
//! When the teardown publishes the end of the thread, the drop of the handle and the teardown
//! compete for the result. The handle is dropped by a real-time thread on the CPU of `rmmod`,
//! so that the drop may win, and runs the destructor of the result in the text of `fsmake.ko`.
//!
//! A sound library keeps the text: `rmmod fsmake` returns after the destructor has returned.
use kernel::{
    cpu::CpuId,
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex, SetOnce},
    time::Delta,
};
use tether::kthread::{Builder, Policy, Thread};
module! { type: Keep, name: "fskeep", authors: ["h"], description: "attack", license: "GPL", }

#[allow(missing_docs)]
pub trait Payload: Send {}
#[pin_data]
struct Slot {
    #[pin]
    kept: Mutex<Option<Thread<KBox<dyn Payload>>>>,
}
static SLOT: SetOnce<Arc<Slot>> = SetOnce::new();
#[no_mangle]
#[allow(missing_docs)]
pub fn fskeep_keep(thread: Thread<KBox<dyn Payload>>) {
    if let Some(slot) = SLOT.as_ref() {
        *slot.kept.lock() = Some(thread);
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
        let cpu = CpuId::from_u32(0).ok_or(EINVAL)?;
        let thread = Builder::new(c"fskeep")
            .bind(cpu)
            .policy(Policy::Fifo)
            .spawn(move |context| {
                while !context.sleep_for(Delta::from_millis(100)).is_stopped() {
                    let Some(slot) = SLOT.as_ref() else { continue };
                    let Some(kept) = slot.kept.lock().take() else {
                        continue;
                    };
                    // `rmmod fsmake` waits for the thread when this sleep is over.
                    context.sleep_for(Delta::from_secs(6));
                    pr_info!("fskeep: dropping\n");
                    drop(kept);
                    pr_info!("fskeep: done\n");
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
