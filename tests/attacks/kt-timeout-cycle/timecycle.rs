// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Two leaked threads that join each other, with the longest limit that there is.
// what it attacks: a wait with a limit is not in the graph of waits; but a limit of more than 2^31 ms is none:
// `msecs_to_jiffies()` takes it for negative. And nobody can kill a thread that waits killably.
use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex, SetOnce},
    time::{delay::fsleep, Delta},
};
use tether::kthread::{self, Thread};
module! { type: M, name: "timecycle", authors: ["h"], description: "attack", license: "GPL", }
#[pin_data]
struct Slots {
    #[pin]
    first: Mutex<Option<Thread<()>>>,
    #[pin]
    second: Mutex<Option<Thread<()>>>,
}
static SLOTS: SetOnce<Arc<Slots>> = SetOnce::new();
fn body(second: bool) {
    fsleep(Delta::from_millis(300));
    let Some(slots) = SLOTS.as_ref() else { return };
    let slot = if second { &slots.second } else { &slots.first };
    let other = slot.lock().take();
    if let Some(other) = other {
        pr_info!("timecycle: joins\n");
        let joined = other.join_timeout(Delta::from_nanos(i64::MAX));
        pr_info!(
            "timecycle: joined: {:?}\n",
            joined.map_err(|refused| refused.error)
        );
    }
}
struct M;
impl kernel::Module for M {
    fn init(_: &'static ThisModule) -> Result<Self> {
        SLOTS.populate(Arc::pin_init(
            pin_init!(Slots { first <- new_mutex!(None), second <- new_mutex!(None) }),
            GFP_KERNEL,
        )?);
        let slots = SLOTS.as_ref().ok_or(EIO)?;
        let mut first = slots.first.lock();
        *first = Some(kthread::spawn(c"timecycle2", |_| body(true))?);
        *slots.second.lock() = Some(kthread::spawn(c"timecycle1", |_| body(false))?);
        drop(first);
        fsleep(Delta::from_secs(1));
        Ok(M)
    }
}
