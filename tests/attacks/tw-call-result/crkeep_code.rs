// SPDX-License-Identifier: GPL-2.0
//! Keeps the `Call` of another module, and drops it after that module was removed.
//!
//! The closure has returned, and its result, which has a destructor in the text of `crmake.ko`, is
//! in the `Call`. The drop of the handle runs this destructor.
//!
//! A sound library keeps the text mapped, or drops the result when the module is removed, as for
//! the result of a thread.
use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex, SetOnce},
};
use tether::task_work::Call;
module! { type: Keep, name: "crkeep", authors: ["h"], description: "attack", license: "GPL", }

#[allow(missing_docs)]
pub trait Payload: Send {}
#[pin_data]
struct Slot {
    #[pin]
    kept: Mutex<Option<Call<KBox<dyn Payload>>>>,
}
static SLOT: SetOnce<Arc<Slot>> = SetOnce::new();
#[no_mangle]
#[allow(missing_docs)]
pub fn crkeep_keep(call: Call<KBox<dyn Payload>>) {
    if let Some(slot) = SLOT.as_ref() {
        *slot.kept.lock() = Some(call);
    }
}
struct Keep;
impl kernel::Module for Keep {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        SLOT.populate(Arc::pin_init(
            pin_init!(Slot { kept <- new_mutex!(None) }),
            GFP_KERNEL,
        )?);
        Ok(Keep)
    }
}
impl Drop for Keep {
    fn drop(&mut self) {
        if let Some(slot) = SLOT.as_ref() {
            let kept = slot.kept.lock().take();
            if let Some(call) = kept {
                pr_info!("crkeep: dropping, done: {}\n", call.is_done());
                drop(call);
                pr_info!("crkeep: dropped\n");
            }
        }
    }
}
