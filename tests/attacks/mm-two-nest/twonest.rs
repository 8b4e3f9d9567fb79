// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Unmaps pages of the range, drops registrations and locks shadows in callbacks of two-pass
//! notifiers.
//!
//! A registration has one slot for the value that the first pass passes to the second one, and
//! the callbacks make invalidations overlap. Processes fork, unmap, and are killed meanwhile.
//!
//! A sound library runs one second pass for each first pass, and drops each value and each
//! notifier once.
use kernel::{
    fs::File,
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Full, Relaxed},
        Arc, Mutex,
    },
    time::{delay::fsleep, Delta},
};
use tether::{
    misc_device::*,
    mm::{
        mmu_interval_notifier::{
            new_mmu_interval_notifier, InvalidateInTwoPasses, MmuIntervalNotifier,
            Registration as Interval, Shadow, TwoPasses,
        },
        mmu_notifier::{MmuNotifierRange, WouldSleep},
        Mm,
    },
};
module! { type: M, name: "twonest", authors: ["h"], description: "attack", license: "GPL", }
const PAGES: usize = 64;
static BEGUN: Atomic<i64> = Atomic::new(0);
static FINISHED: Atomic<i64> = Atomic::new(0);
static NESTED: Atomic<i64> = Atomic::new(0);
static LIVE: Atomic<i64> = Atomic::new(0);
static NOTIFIERS: Atomic<i64> = Atomic::new(0);
struct Canary(u64);
impl Canary {
    fn new() -> Self {
        LIVE.fetch_add(1, Full);
        Canary(0x1234567)
    }
}
impl Drop for Canary {
    fn drop(&mut self) {
        if self.0 != 0x1234567 {
            pr_err!("twonest: BAD canary\n");
        }
        self.0 = 0;
        LIVE.fetch_sub(1, Full);
    }
}
struct N {
    at: usize,
    budget: Atomic<i32>,
    other: Arc<Pool>,
}
impl Drop for N {
    fn drop(&mut self) {
        NOTIFIERS.fetch_sub(1, Full);
    }
}
type Reg = Pin<KBox<Interval<N>>>;
#[pin_data]
struct Pool {
    #[pin]
    kept: Mutex<KVec<Reg>>,
}
impl N {
    fn zap(&self, mm: &Mm, n: usize) {
        if self.budget.fetch_sub(1, Full) <= 0 {
            return;
        }
        if NESTED.fetch_add(1, Full) >= 2 {
            NESTED.fetch_sub(1, Full);
            return;
        }
        let address = self.at + n % PAGES * PAGE_SIZE;
        if let Some(mm) = mm.mmget_not_zero() {
            if let Some(vma) = mm.lock_vma_under_rcu(address) {
                vma.zap_vma_range(address, PAGE_SIZE);
            }
        }
        NESTED.fetch_sub(1, Full);
    }
}
impl MmuIntervalNotifier for N {
    type Shadow = usize;
    type Passes = TwoPasses;
    fn try_invalidate(&self, _: &MmuNotifierRange<'_>, n: &mut usize) -> Result<(), WouldSleep> {
        *n += 1;
        if *n % 2 == 0 {
            Err(WouldSleep)
        } else {
            Ok(())
        }
    }
    fn invalidate_while_locked(&self, _: &MmuNotifierRange<'_>) {
        if let Some(mut kept) = self.other.kept.try_lock() {
            // Drops a registration in a callback.
            drop(kept.pop());
        }
    }
}
impl InvalidateInTwoPasses for N {
    type Begun = (Canary, usize, Option<KBox<Canary>>, ARef<Mm>);
    fn begin(&self, r: &MmuNotifierRange<'_>, n: &mut usize) -> Option<Self::Begun> {
        *n += 1;
        if *n % 5 == 4 {
            return None;
        }
        BEGUN.fetch_add(1, Full);
        Some((
            Canary::new(),
            *n,
            KBox::new(Canary::new(), GFP_ATOMIC).ok(),
            ARef::from(r.mm()),
        ))
    }
    fn finish(&self, begun: Self::Begun, shadow: &Shadow<usize>) {
        FINISHED.fetch_add(1, Full);
        if begun.1 % 7 == 0 {
            fsleep(Delta::from_micros(300));
        }
        shadow.with(|n| *n += 1);
        if begun.1 % 3 == 0 {
            self.zap(&begun.3, begun.1);
        }
        if begun.1 % 11 == 0 {
            self.budget.fetch_add(3, Relaxed);
        }
        if begun.1 % 13 == 0 {
            if let Some(mut kept) = self.other.kept.try_lock() {
                drop(kept.pop());
            }
        }
    }
}
struct Dev {
    pool: Arc<Pool>,
}
impl Drop for Dev {
    fn drop(&mut self) {
        let kept = core::mem::replace(&mut *self.pool.kept.lock(), KVec::new());
        drop(kept);
    }
}
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        let pool = Arc::pin_init(
            pin_init!(Pool { kept <- new_mutex!(KVec::new()) }),
            GFP_KERNEL,
        )?;
        Ok(KBox::new(Dev { pool }, GFP_KERNEL)?)
    }
    fn ioctl(me: &Self, _: &File, _: u32, arg: usize) -> Result<isize> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        NOTIFIERS.fetch_add(1, Full);
        let n = N {
            at: arg,
            budget: Atomic::new(4),
            other: me.pool.clone(),
        };
        let it: Reg = KBox::pin_init(
            new_mmu_interval_notifier!(mm, arg, PAGES * PAGE_SIZE, n, 0),
            GFP_KERNEL,
        )?;
        it.shadow().with(|n| {
            *n += 1;
            if let Some(vma) = mm.lock_vma_under_rcu(arg) {
                vma.zap_vma_range(arg, PAGE_SIZE);
            }
        });
        let mut kept = me.pool.kept.lock();
        if kept.len() > 20 {
            return Ok(0);
        }
        kept.push(it, GFP_NOWAIT)?;
        Ok(0)
    }
}
/// Waits, in the exit of the module, until all notifiers are dropped, and logs the counts.
struct Counted;
impl Drop for Counted {
    fn drop(&mut self) {
        for _ in 0..400 {
            if NOTIFIERS.load(Relaxed) == 0 {
                break;
            }
            fsleep(Delta::from_millis(20));
        }
        pr_info!(
            "twonest: begun {} finished {} live {} notifiers {}\n",
            BEGUN.load(Relaxed),
            FINISHED.load(Relaxed),
            LIVE.load(Relaxed),
            NOTIFIERS.load(Relaxed)
        );
    }
}
#[pin_data]
struct M {
    #[pin]
    d: MiscDeviceRegistration<Dev>,
    counted: Counted,
}
impl kernel::InPlaceModule for M {
    fn init(_: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            d <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"twonest" }),
            counted: Counted,
        })
    }
}
