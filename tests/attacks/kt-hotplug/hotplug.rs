// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Uses threads and workers of CPU 1 while this CPU is taken offline and brought back online.
//!
//! A leaked thread creates threads that are bound to the CPU or prefer it, and bound workers.
//! It parks, unparks, stops, detaches and leaks them until the module is removed.
//!
//! A sound library does not warn or hang, and `rmmod` returns.
use kernel::{cpu::CpuId, cpumask::CpumaskVar, prelude::*, time::Delta};
use tether::kthread::{self, Builder, Policy};
module! { type: Hotplug, name: "hotplug", authors: ["h"], description: "attack", license: "GPL", }
struct Hotplug;
impl kernel::Module for Hotplug {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let cpu = CpuId::from_u32(1).ok_or(EINVAL)?;
        let mut mask = CpumaskVar::new_zero(GFP_KERNEL)?;
        mask.set(cpu);
        core::mem::forget(Builder::new(c"hotplug-w").bind(cpu).worker(module)?);
        core::mem::forget(kthread::spawn(c"hotplug-s", move |context| {
            let mut n = 0;
            while !context.sleep_for(Delta::from_millis(1)).is_stopped() {
                n += 1;
                let builder = Builder::new(c"hotplug-t").parkable();
                let builder = match n % 3 {
                    0 => builder.bind(cpu),
                    1 => builder.prefer(&mask),
                    _ => builder.bind(cpu).policy(Policy::FifoLow),
                };
                let Ok(unstarted) =
                    builder.create(
                        |context| {
                            while !context.sleep_for(Delta::from_millis(2)).is_stopped() {}
                        },
                    )
                else {
                    continue;
                };
                if n % 7 == 0 {
                    if n % 21 == 0 {
                        core::mem::forget(unstarted);
                    }
                    continue;
                }
                let thread = unstarted.start();
                let _ = thread.park_timeout(Delta::from_millis(50));
                let _ = thread.set_policy(Policy::Normal { nice: -5 });
                thread.unpark();
                let _ = thread.park();
                if n % 10 == 0 {
                    core::mem::forget(thread);
                } else if n % 11 == 0 {
                    thread.request_stop();
                    let _ = thread.detach();
                }
                if let Ok(worker) = Builder::new(c"hotplug-w")
                    .bind(cpu)
                    .worker(kernel::module::this_module::<Hotplug>())
                {
                    let _ = worker.try_spawn(GFP_KERNEL, |_| ());
                    if n % 5 == 0 {
                        let _ = worker.flush_killable();
                    }
                }
            }
        })?);
        Ok(Hotplug)
    }
}
