// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Sends every signal to threads that have allowed every signal.
//!
//! `allow_signal()` accepts SIGKILL, SIGSTOP and SIGCONT as well. Meanwhile the threads sleep,
//! park, freeze, create threads and wait killably.
//!
//! A sound library may lose a signal, but no thread hangs, spins or stays after the removal of
//! the module, and a request to stop is not reported as a signal.
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
    time::{delay::fsleep, Delta},
};
use tether::kthread::{self, worker::KthreadWorker, Builder, Wake};
module! { type: Signals, name: "signals", authors: ["h"], description: "attack", license: "GPL", }
static SIGNALS: Atomic<i32> = Atomic::new(0);
struct Signals;
impl Drop for Signals {
    fn drop(&mut self) {
        pr_info!("signals: {} taken\n", SIGNALS.load(Relaxed));
    }
}
impl kernel::Module for Signals {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let worker: Arc<KthreadWorker> =
            Arc::new(Builder::new(c"signals-w").worker(module)?, GFP_KERNEL)?;
        for n in 0..4 {
            let worker = worker.clone();
            let thread =
                Builder::new(c"signals-t")
                    .parkable()
                    .freezable()
                    .spawn(move |context| {
                        for signal in 1..=64 {
                            let _ = context.allow_signal(signal);
                        }
                        loop {
                            let _ = worker.try_spawn(GFP_KERNEL, |_| fsleep(Delta::from_millis(2)));
                            let _ = worker.flush_timeout(Delta::from_millis(5));
                            match kthread::spawn(c"signals-c", |context| {
                                context.sleep_for(Delta::from_millis(2));
                            }) {
                                Ok(thread) if n % 2 == 0 => drop(thread.join_killable()),
                                Ok(thread) => drop(thread.stop_killable()),
                                Err(refused) => drop(refused),
                            }
                            match context.sleep_for(Delta::from_millis(20)) {
                                Wake::Stopped => break,
                                Wake::Signal(_) => drop(SIGNALS.fetch_add(1, Relaxed)),
                                _ => {}
                            }
                        }
                    })?;
            let thread = Arc::new(thread, GFP_KERNEL)?;
            let parked = thread.clone();
            core::mem::forget(thread);
            core::mem::forget(kthread::spawn(c"signals-p", move |context| {
                while !context.sleep_for(Delta::from_millis(5)).is_stopped() {
                    let _ = parked.park_killable();
                    parked.unpark();
                }
            })?);
        }
        Ok(Signals)
    }
}
