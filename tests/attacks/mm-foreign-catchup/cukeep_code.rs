// SPDX-License-Identifier: GPL-2.0
//! Unmaps a page with the shadow of another module locked, while that module is removed.
//!
//! When the lock is released, the missed range is invalidated by `catch_up()`, in the text of
//! `cumake.ko`. This function releases the lock, for which the teardown of `cumake.ko` waits,
//! and then runs the second pass, which may sleep.
//!
//! A sound library keeps the text: `rmmod cumake` returns after the second pass has returned.
use kernel::{
    mm::MmWithUser,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
        Arc, Mutex, SetOnce,
    },
    time::{delay::fsleep, Delta},
};
use tether::{
    kthread::{self, Thread},
    mm::{
        mmu_interval_notifier::{
            InvalidateInTwoPasses, MmuIntervalNotifier, Registration, Shadow, TwoPasses,
        },
        mmu_notifier::{Event, MmuNotifierRange, WouldSleep},
    },
};
module! { type: Keep, name: "cukeep", authors: ["h"], description: "attack", license: "GPL", }

/// The address at which `user.c` maps a page.
pub const ADDRESS: usize = 0x1000_0000;
static SLOW: Atomic<i32> = Atomic::new(0);
#[allow(missing_docs)]
pub struct Watch(pub u64);
impl MmuIntervalNotifier for Watch {
    type Shadow = u64;
    type Passes = TwoPasses;
    fn try_invalidate(&self, _: &MmuNotifierRange<'_>, _: &mut u64) -> Result<(), WouldSleep> {
        Ok(())
    }
}
impl InvalidateInTwoPasses for Watch {
    type Begun = bool;
    #[inline(always)]
    fn begin(&self, range: &MmuNotifierRange<'_>, n: &mut u64) -> Option<bool> {
        *n += 1;
        Some(range.event() != Event::Release)
    }
    #[inline(always)]
    fn finish(&self, slow: bool, _: &Shadow<u64>) {
        if cukeep_finish(slow) {
            pr_info!("cukeep: the second pass is over: {}\n", self.0);
        }
    }
}
#[no_mangle]
#[allow(missing_docs)]
pub fn cukeep_finish(slow: bool) -> bool {
    if slow && SLOW.load(Relaxed) == 1 {
        pr_info!("cukeep: finish begins\n");
        fsleep(Delta::from_secs(12));
        pr_info!("cukeep: finish ends\n");
    }
    slow
}
#[allow(missing_docs)]
pub type Kept = Pin<KBox<Registration<Watch>>>;
#[pin_data]
struct Slot {
    #[pin]
    kept: Mutex<Option<(Kept, ARef<MmWithUser>)>>,
}
static SLOT: SetOnce<Arc<Slot>> = SetOnce::new();
#[no_mangle]
#[allow(missing_docs)]
pub fn cukeep_keep(registration: Kept) {
    let mm = registration.mm().mmget_not_zero();
    if let (Some(slot), Some(mm)) = (SLOT.as_ref(), mm) {
        *slot.kept.lock() = Some((registration, mm));
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
        let thread = kthread::spawn(c"cukeep", move |context| {
            while !context.sleep_for(Delta::from_millis(100)).is_stopped() {
                let Some(slot) = SLOT.as_ref() else { continue };
                let Some((it, mm)) = slot.kept.lock().take() else {
                    continue;
                };
                SLOW.store(1, Relaxed);
                it.shadow().with(|_| {
                    pr_info!("cukeep: locked\n");
                    // `cumake.ko` is being removed meanwhile.
                    fsleep(Delta::from_secs(5));
                    let vma = mm.lock_vma_under_rcu(ADDRESS);
                    pr_info!("cukeep: zapping, {}\n", vma.is_some());
                    if let Some(vma) = vma {
                        vma.zap_vma_range(ADDRESS, 4096);
                    }
                });
                pr_info!("cukeep: unlocked\n");
                drop(it);
                drop(mm);
                pr_info!("cukeep: done\n");
            }
        })?;
        Ok(Keep { _thread: thread })
    }
}
