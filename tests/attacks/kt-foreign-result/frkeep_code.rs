// SPDX-License-Identifier: GPL-2.0
//! Drops the handle of a finished thread of another module while that module is removed.
//!
//! The drop of the handle runs the destructor of the result, which is in the text of
//! `frmake.ko` and takes four seconds.
//!
//! A sound library keeps the text: `rmmod frmake` returns after the destructor has returned.
use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex, SetOnce},
    time::Delta,
};
use tether::kthread::{Builder, Policy, Thread};
module! { type: Keep, name: "frkeep", authors: ["h"], description: "attack", license: "GPL", }

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
pub fn frkeep_keep(thread: Thread<KBox<dyn Payload>>) {
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
        let thread = Builder::new(c"frkeep")
            .policy(Policy::Fifo)
            .spawn(move |context| {
                while !context.sleep_for(Delta::from_millis(100)).is_stopped() {
                    let Some(slot) = SLOT.as_ref() else { continue };
                    let Some(kept) = slot.kept.lock().take() else {
                        continue;
                    };
                    pr_info!("frkeep: dropping\n");
                    drop(kept);
                    pr_info!("frkeep: done\n");
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
