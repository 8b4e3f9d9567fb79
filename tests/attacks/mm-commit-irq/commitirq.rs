// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Commits a look-up with interrupts disabled.
//!
//! `commit()` locks the shadow, which sleeps if another thread has it locked.
//!
//! A sound library returns `EDEADLK`, as `types.rst` documents for functions that sleep.
use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::Arc,
    time::{delay::fsleep, Delta},
};
use tether::mm::{
    mmu_interval_notifier::{
        new_mmu_interval_notifier, Invalidate, MmuIntervalNotifier, OnePass,
        Registration as Interval,
    },
    mmu_notifier::{MmuNotifierRange, WouldSleep},
};
module! { type: M, name: "commitirq", authors: ["h"], description: "attack", license: "GPL", }
struct N;
impl MmuIntervalNotifier for N {
    type Shadow = u64;
    type Passes = OnePass;
    fn try_invalidate(&self, _: &MmuNotifierRange<'_>, _: &mut u64) -> Result<(), WouldSleep> {
        Ok(())
    }
}
impl Invalidate for N {
    fn invalidate(&self, _: &MmuNotifierRange<'_>, _: &mut u64) {}
}
struct M;
impl kernel::Module for M {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        let it = Arc::pin_init(
            new_mmu_interval_notifier!(mm, 0x1000_0000, 4096, N, 5),
            GFP_KERNEL,
        )?;
        let lock = Arc::pin_init(new_spinlock_irq!(0u32), GFP_KERNEL)?;
        let other = it.clone();
        let thread = tether::kthread::spawn(c"commitirq", move |_| {
            other.shadow().with(|n| {
                fsleep(Delta::from_secs(2));
                *n += 1;
            });
        })?;
        fsleep(Delta::from_millis(500));
        let begun = it.begin()?;
        let result = {
            let _irqs_are_off = lock.lock();
            begun.commit(|n| *n)
        };
        pr_info!("commitirq: commit {:?}\n", result);
        drop(thread);
        Ok(M)
    }
}
