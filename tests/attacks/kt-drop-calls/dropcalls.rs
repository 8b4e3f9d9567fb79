// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Calls the API in destructors of bodies, results and work items.
//!
//! The destructors create threads and workers, and stop, detach, park, flush and enqueue,
//! during the removal of the module and in threads that end. Some payloads own the worker on
//! which they are pending.
//!
//! A sound library drops each payload exactly once before `rmmod` returns, and does not hang.
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Full},
        Arc, Mutex,
    },
    time::{delay::fsleep, Delta},
};
use tether::kthread::{self, worker::*, Builder, Parkable, Thread, Unstarted};
module! { type: Calls, name: "dropcalls", authors: ["h"], description: "attack", license: "GPL", }

static LIVE: Atomic<i32> = Atomic::new(0);
#[allow(dead_code)]
struct Busy {
    worker: Arc<KthreadWorker>,
    thread: Arc<Thread<(), Parkable>>,
    own: Option<Thread<Option<KBox<Busy>>>>,
    unstarted: Option<Unstarted<()>>,
}
impl Busy {
    fn new(worker: &Arc<KthreadWorker>, thread: &Arc<Thread<(), Parkable>>) -> Result<KBox<Self>> {
        let busy = KBox::new(
            Busy {
                worker: worker.clone(),
                thread: thread.clone(),
                own: None,
                unstarted: None,
            },
            GFP_KERNEL,
        )?;
        LIVE.fetch_add(1, Full);
        Ok(busy)
    }
}
impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.thread.park_timeout(Delta::from_millis(1));
        self.thread.unpark();
        let _ = self.worker.try_spawn(GFP_KERNEL, |_| ());
        let _ = self.worker.flush();
        let _ = self.worker.flush_timeout(Delta::from_millis(1));
        match kthread::spawn(
            c"dropcalls-n",
            |context| {
                while !context.sleep().is_stopped() {}
            },
        ) {
            Ok(thread) => core::mem::forget(thread),
            Err(refused) => drop(refused),
        }
        if let Some(own) = self.own.take() {
            match own.detach() {
                Ok(()) => {}
                Err(refused) => drop(refused.item.stop()),
            }
        }
        if let Some(unstarted) = self.unstarted.take() {
            drop(unstarted.start().join());
        }
        match LIVE.fetch_sub(1, Full) {
            1 => pr_info!("dropcalls: none left\n"),
            n if n <= 0 => pr_err!("dropcalls: BAD: dropped twice\n"),
            _ => {}
        }
    }
}
#[pin_data]
struct Slot<T> {
    #[pin]
    own: Mutex<Option<T>>,
}
struct Calls;
impl kernel::Module for Calls {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let worker = Arc::new(Builder::new(c"dropcalls-w").worker(module)?, GFP_KERNEL)?;
        let parkable = Arc::new(
            Builder::new(c"dropcalls-p")
                .parkable()
                .spawn(|context| while !context.sleep().is_stopped() {})?,
            GFP_KERNEL,
        )?;
        let new = || Busy::new(&worker, &parkable);
        // A leaked thread with a result; a leaked unstarted thread; a result that owns another
        // thread with a result.
        let busy = new()?;
        core::mem::forget(kthread::spawn(c"dropcalls-1", move |_| busy)?);
        let busy = new()?;
        core::mem::forget(Builder::new(c"dropcalls-2").create(move |_| drop(busy))?);
        let mut outer = new()?;
        let inner = new()?;
        outer.own = Some(kthread::spawn(c"dropcalls-3", move |context| {
            while !context.sleep().is_stopped() {}
            Some(inner)
        })?);
        let own = new()?;
        outer.unstarted = Some(Builder::new(c"dropcalls-u").create(move |_| drop(own))?);
        core::mem::forget(kthread::spawn(c"dropcalls-4", move |context| {
            while !context.sleep().is_stopped() {}
            outer
        })?);
        // A thread that drops its own handle and returns a result afterwards.
        let slot = Arc::pin_init(pin_init!(Slot { own <- new_mutex!(None) }), GFP_KERNEL)?;
        let (captured, busy) = (slot.clone(), new()?);
        let thread = kthread::spawn(c"dropcalls-5", move |context| {
            while !context.sleep_for(Delta::from_millis(1)).is_stopped() {
                if let Some(own) = captured.own.lock().take() {
                    drop::<Thread<KBox<Busy>>>(own);
                    break;
                }
            }
            while !context.sleep_for(Delta::from_millis(100)).is_stopped() {}
            busy
        })?;
        *slot.own.lock() = Some(thread);
        // A payload that is pending on its own worker, behind a work that still runs when the
        // module is removed.
        let busy = new()?;
        worker.try_spawn(GFP_KERNEL, |_| fsleep(Delta::from_millis(1500)))?;
        worker.try_spawn(GFP_KERNEL, move |_| drop(busy))?;
        // A worker that is dropped by its own work, while an item that owns another worker is
        // pending.
        let slot = Arc::pin_init(pin_init!(Slot { own <- new_mutex!(None) }), GFP_KERNEL)?;
        let captured = slot.clone();
        let second = Builder::new(c"dropcalls-w2").worker(module)?;
        let busy = new()?;
        second.try_spawn(GFP_KERNEL, move |_| {
            fsleep(Delta::from_millis(200));
            drop(captured.own.lock().take());
            fsleep(Delta::from_millis(700));
        })?;
        second.try_spawn(GFP_KERNEL, move |_| drop(busy))?;
        *slot.own.lock() = Some(second);
        fsleep(Delta::from_millis(300));
        Ok(Calls)
    }
}
