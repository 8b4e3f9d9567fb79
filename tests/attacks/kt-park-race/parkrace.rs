// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Parks and unparks three threads from many tasks at once until the module is removed.
//!
//! Parkers with and without a limit, unparkers, wake-ups of the task, requests to stop and
//! leaked `ParkRequest`s concern the same threads while the module is removed.
//!
//! A sound library returns from each `park()`, does not make `kthread_park()` warn, and lets
//! `rmmod` return.
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
    time::Delta,
};
use tether::kthread::{self, Builder, Wake};
module! { type: Park, name: "parkrace", authors: ["h"], description: "attack", license: "GPL", }
static PARKED: Atomic<i32> = Atomic::new(0);
struct Park;
impl Drop for Park {
    fn drop(&mut self) {
        pr_info!("parkrace: parked {} times\n", PARKED.load(Relaxed));
    }
}
impl kernel::Module for Park {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        for round in 0..3 {
            let builder = Builder::new(c"parkrace-t").parkable();
            let builder = if round == 1 {
                builder.freezable()
            } else {
                builder
            };
            let thread = builder.spawn(move |context| {
                let mut n = 0;
                loop {
                    n += 1;
                    match context.wait_until_timeout(Delta::from_millis(4), || n % 16 == 0) {
                        Wake::Stopped => break,
                        Wake::Park(request) if n % 3 == 0 => core::mem::forget(request),
                        Wake::Park(request) => {
                            let second = context.park_request();
                            request.park();
                            drop(second);
                        }
                        _ => {}
                    }
                    // The third thread returns by itself, while requests to park are pending.
                    if round == 2 && n > 300 {
                        break;
                    }
                }
            })?;
            let thread = Arc::new(thread, GFP_KERNEL)?;
            for kind in 0..6 {
                let thread = thread.clone();
                core::mem::forget(kthread::spawn(c"parkrace-p", move |context| {
                    let mut n = 0u32;
                    while !context.should_stop() {
                        n += 1;
                        let parked = match kind {
                            0 => thread.park(),
                            1 => thread.park_killable(),
                            2 => thread.park_timeout(Delta::from_millis(i64::from(n % 5))),
                            3 => {
                                thread.task().wake_up();
                                Err(EBUSY)
                            }
                            4 => {
                                thread.wake();
                                context.sleep_for(Delta::from_millis(3));
                                Err(EBUSY)
                            }
                            _ => {
                                if n == 4000 && round == 0 {
                                    thread.request_stop();
                                }
                                Err(EBUSY)
                            }
                        };
                        if parked.is_ok() {
                            PARKED.fetch_add(1, Relaxed);
                        }
                        if n % 3 != 0 {
                            thread.unpark();
                        }
                        if kind > 2 || parked.is_err() {
                            context.sleep_for(Delta::from_millis(1));
                        }
                    }
                })?);
            }
        }
        Ok(Park)
    }
}
