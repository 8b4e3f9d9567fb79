// SPDX-License-Identifier: GPL-2.0
//! Unmaps a page with the shadow of another module locked, while that module waits for the
//! removal of its registration.
//!
//! The teardown of `flmake.ko` takes the lock in `Inner::end()`, and then waits for the kernel
//! to remove the notifier. The kernel delays the removal while another range of the address
//! space is invalidated, and calls the notifier until then. A task that has the lock by then
//! misses the range and calls `catch_up()`, in the text of `flmake.ko`, when it releases the
//! lock.
//!
//! A sound library waits for the lock once more after the removal: `rmmod flmake` returns after
//! the closure has ended.
use kernel::{
    mm::MmWithUser,
    new_mutex,
    page::PAGE_SIZE,
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
            new_mmu_interval_notifier, Invalidate, MmuIntervalNotifier, OnePass, Registration,
        },
        mmu_notifier::{Event, MmuNotifierRange, WouldSleep},
    },
};
module! { type: Keep, name: "flkeep", authors: ["h"], description: "attack", license: "GPL", }

/// The address at which `user.c` maps 32 pages.
pub const ADDRESS: usize = 0x1000_0000;
const SLOW: usize = ADDRESS + 16 * PAGE_SIZE;
#[allow(missing_docs)]
pub struct Watch(pub u64);
impl MmuIntervalNotifier for Watch {
    type Shadow = u64;
    type Passes = OnePass;
    fn try_invalidate(&self, _: &MmuNotifierRange<'_>, _: &mut u64) -> Result<(), WouldSleep> {
        Ok(())
    }
}
impl Invalidate for Watch {
    #[inline(always)]
    fn invalidate(&self, _: &MmuNotifierRange<'_>, n: &mut u64) {
        *n += 1;
    }
}
/// A notifier with an invalidation that takes twelve seconds.
struct Slow;
impl MmuIntervalNotifier for Slow {
    type Shadow = ();
    type Passes = OnePass;
    fn try_invalidate(&self, _: &MmuNotifierRange<'_>, _: &mut ()) -> Result<(), WouldSleep> {
        Ok(())
    }
}
impl Invalidate for Slow {
    fn invalidate(&self, range: &MmuNotifierRange<'_>, _: &mut ()) {
        if range.event() == Event::Clear {
            pr_info!("flkeep: slow begins\n");
            fsleep(Delta::from_secs(12));
            pr_info!("flkeep: slow ends\n");
        }
    }
}
#[allow(missing_docs)]
pub type Kept = Pin<KBox<Registration<Watch>>>;
#[pin_data]
struct Slot {
    #[pin]
    kept: Mutex<Option<(Kept, ARef<MmWithUser>)>>,
}
static SLOT: SetOnce<Arc<Slot>> = SetOnce::new();
static ZAPPED: Atomic<i32> = Atomic::new(0);
#[no_mangle]
#[allow(missing_docs)]
pub fn flkeep_keep(registration: Kept) {
    let mm = registration.mm().mmget_not_zero();
    if let (Some(slot), Some(mm)) = (SLOT.as_ref(), mm) {
        *slot.kept.lock() = Some((registration, mm));
    }
}
fn zap(mm: &MmWithUser, address: usize) -> bool {
    let Some(vma) = mm.lock_vma_under_rcu(address) else {
        return false;
    };
    vma.zap_vma_range(address, PAGE_SIZE);
    true
}
fn attack(it: Kept, mm: ARef<MmWithUser>) -> Result {
    let slow: Pin<KBox<Registration<Slow>>> = KBox::pin_init(
        new_mmu_interval_notifier!(&mm, SLOW, PAGE_SIZE, Slow, ()),
        GFP_KERNEL,
    )?;
    let other = mm.clone();
    let zapper = kthread::spawn(c"flkeep/zap", move |_| {
        pr_info!("flkeep: zapped slow {}\n", zap(&other, SLOW));
        ZAPPED.store(1, Relaxed);
    })?;
    // Wait until the teardown of `flmake.ko` has marked the registration as ended.
    for _ in 0..300 {
        if it.read(|| Ok(()), |(), _| ()).err() == Some(ENODEV) {
            break;
        }
        fsleep(Delta::from_millis(50));
    }
    it.shadow().with(|n| {
        pr_info!(
            "flkeep: locked {} {:?}, slow {}\n",
            *n,
            it.read(|| Ok(()), |(), _| ()),
            ZAPPED.load(Relaxed)
        );
        pr_info!("flkeep: zapped {}\n", zap(&mm, ADDRESS));
        fsleep(Delta::from_secs(25));
        pr_info!("flkeep: closure ends\n");
    });
    pr_info!("flkeep: unlocked\n");
    drop(it);
    drop(zapper);
    drop(slow);
    Ok(())
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
        let thread = kthread::spawn(c"flkeep", move |context| {
            while !context.sleep_for(Delta::from_millis(100)).is_stopped() {
                let Some(slot) = SLOT.as_ref() else { continue };
                let Some((it, mm)) = slot.kept.lock().take() else {
                    continue;
                };
                pr_info!("flkeep: done {:?}\n", attack(it, mm));
            }
        })?;
        Ok(Keep { _thread: thread })
    }
}
