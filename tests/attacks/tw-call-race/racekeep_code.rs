// SPDX-License-Identifier: GPL-2.0
//! Cancels and drops the calls of another module, while the init of that module fails.
//!
//! `cancel()` drops the closure, by code of `racemake.ko`, while the teardown of that module disarms
//! its works and their target runs them.
//!
//! A sound library drops each closure once, while the text of `racemake.ko` is mapped.
use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex, SetOnce},
    time::Delta,
};
use tether::{
    kthread::{self, Thread},
    task_work::{Call, Cancel},
};
module! { type: Keep, name: "racekeep", authors: ["h"], description: "attack", license: "GPL", }
#[pin_data]
struct Slot {
    #[pin]
    kept: Mutex<KVec<Call<u64>>>,
}
static SLOT: SetOnce<Arc<Slot>> = SetOnce::new();
#[no_mangle]
#[allow(missing_docs)]
pub fn racekeep_keep(call: Call<u64>) {
    if let Some(slot) = SLOT.as_ref() {
        let _ = slot.kept.lock().push(call, GFP_KERNEL);
    }
}
struct Keep {
    _threads: [Thread<()>; 2],
}
fn keeper() -> Result<Thread<()>> {
    Ok(kthread::spawn(c"racekeep", |context| {
        let (mut n, mut counts) = (0u64, [0u64; 4]);
        while !context.should_stop() {
            let kept = SLOT.as_ref().and_then(|slot| slot.kept.lock().pop());
            let Some(call) = kept else {
                let _ = context.sleep_for(Delta::from_millis(1));
                continue;
            };
            n += 1;
            match n % 4 {
                0 => drop(call),
                1 => match call.wait_timeout(Delta::from_millis(1)) {
                    Ok(_) => counts[0] += 1,
                    Err(refused) => drop(refused.item.cancel()),
                },
                _ => match call.cancel() {
                    Cancel::Cancelled(()) => counts[1] += 1,
                    Cancel::TooLate => counts[2] += 1,
                    Cancel::NotQueued => counts[3] += 1,
                },
            }
        }
        pr_info!("racekeep: {n} {counts:?}\n");
    })?)
}
impl kernel::Module for Keep {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        SLOT.populate(Arc::pin_init(
            pin_init!(Slot { kept <- new_mutex!(KVec::new()) }),
            GFP_KERNEL,
        )?);
        Ok(Keep {
            _threads: [keeper()?, keeper()?],
        })
    }
}
