// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Loads and removes a module with freezable threads and workers while the system freezes.
//!
//! The module leaks freezable threads that sleep, park or are about to park, and a freezable
//! worker with a delayed work. Threads that are not freezable park these threads, and create
//! and stop freezable threads, while the system is frozen.
//!
//! A sound library lets the system freeze and thaw, and `rmmod` returns at any moment of this.
use kernel::{
    prelude::*,
    sync::Arc,
    time::{delay::fsleep, Delta},
};
use tether::kthread::{self, worker::*, Builder, Wake};
module! { type: Freezer, name: "freezerend", authors: ["h"], description: "attack", license: "GPL", }
#[pin_data]
struct Item {
    #[pin]
    late: KthreadDelayedWork<Item>,
}
impl_has_kthread_delayed_work! { impl HasKthreadDelayedWork<Self> for Item { self.late } }
impl KthreadWorkItem for Item {
    type Pointer = Arc<Item>;
    fn run(this: Arc<Item>, context: &WorkContext<'_>) {
        let _ = context.queue().enqueue_delayed(this, 1);
    }
}
struct Freezer;
impl kernel::Module for Freezer {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let worker = Arc::new(
            Builder::new(c"freezer-w").freezable().worker(module)?,
            GFP_KERNEL,
        )?;
        let item = Arc::pin_init(
            pin_init!(Item { late <- KthreadDelayedWork::new() }),
            GFP_KERNEL,
        )?;
        worker.enqueue_delayed(item, 1)?;
        for _ in 0..3 {
            let thread = Builder::new(c"freezer-t")
                .parkable()
                .freezable()
                .spawn(|context| loop {
                    match context.sleep_for(Delta::from_millis(1)) {
                        Wake::Stopped => break,
                        Wake::Park(request) => {
                            fsleep(Delta::from_micros(200));
                            request.park();
                        }
                        _ => {}
                    }
                    if context.freezable_should_stop() {
                        break;
                    }
                })?;
            core::mem::forget(kthread::spawn(c"freezer-s", move |context| {
                while !context.sleep_for(Delta::from_millis(2)).is_stopped() {
                    let _ = thread.park_timeout(Delta::from_millis(4));
                    context.sleep_for(Delta::from_millis(1));
                    thread.unpark();
                }
                core::mem::forget(thread);
            })?);
        }
        core::mem::forget(kthread::spawn(c"freezer-n", move |context| {
            while !context.sleep_for(Delta::from_millis(3)).is_stopped() {
                match Builder::new(c"freezer-c")
                    .freezable()
                    .spawn(|context| while !context.sleep().is_stopped() {})
                {
                    Ok(thread) => drop(thread.stop_timeout(Delta::from_millis(2))),
                    Err(refused) => drop(refused),
                }
                let _ = worker.flush_timeout(Delta::from_millis(2));
            }
        })?);
        Ok(Freezer)
    }
}
