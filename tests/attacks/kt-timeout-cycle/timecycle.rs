// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Lets two leaked threads join each other with the longest limit that `Delta` can express.
//!
//! A wait with a short limit is not in the graph of waits. A limit of 2^31 ms or more is no
//! limit at all where it is passed to `msecs_to_jiffies()`, which returns `MAX_JIFFY_OFFSET`
//! for it. Kernel threads cannot be killed, so that neither wait would end.
//!
//! A sound library treats such a limit as none: the second `join_timeout()` fails with
//! `EDEADLK`.
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
