// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Unregisters or registers a notifier in the destructor of another notifier on the same address
//! space.
//!
//! Destructors run in the work item of the address space that removes dropped registrations.
//! unregister() waits for this work item. Registering waits for it as well, while 64 or more
//! dropped registrations are not removed yet. If the library did not notice that the caller is
//! this work item, each destructor would wait for itself until the limit of ten seconds.
//!
//! * Command 1: each destructor calls unregister().
//! * Command 2: 68 notifiers are dropped together, and each destructor registers a notifier.
//!
//! A sound library does not wait in these destructors: unregister() fails with `EDEADLK` and the
//! registration is removed later, and registering succeeds.
use kernel::{
    fs::File,
    mm::MmWithUser,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Full, Relaxed},
    },
    time::{Instant, Monotonic},
};
use tether::{
    misc_device::*,
    mm::mmu_notifier::{MmuNotifier, Registration, ReleaseOnly},
};
module! { type: M, name: "dropwaits", authors: ["h"], description: "attack", license: "GPL", }
type Reg<T> = Pin<KBox<Registration<T>>>;
static LONGEST: Atomic<i64> = Atomic::new(0);
static ERROR: Atomic<i64> = Atomic::new(0);
static EXPECTED: Atomic<i64> = Atomic::new(0);
static DROPPED: Atomic<i64> = Atomic::new(0);
struct Inner;
impl MmuNotifier for Inner {
    type Callbacks = ReleaseOnly;
}
fn timed(f: impl FnOnce() -> Result) {
    let begun: Instant<Monotonic> = Instant::now();
    if let Err(error) = f() {
        ERROR.store(error.to_errno().into(), Relaxed);
    }
    let ms = begun.elapsed().as_millis();
    if ms > LONGEST.load(Relaxed) {
        LONGEST.store(ms, Relaxed);
    }
    let dropped = DROPPED.fetch_add(1, Full) + 1;
    let expected = EXPECTED.load(Relaxed);
    if dropped & 0xffff == expected & 0xffff {
        pr_info!(
            "dropwaits: {} {}: all, the longest after {} ms, the last error {}\n",
            expected >> 16,
            dropped,
            LONGEST.load(Relaxed),
            ERROR.load(Relaxed)
        );
    }
}
struct Unregisters(Option<Registration<Inner>>);
impl MmuNotifier for Unregisters {
    type Callbacks = ReleaseOnly;
}
impl Drop for Unregisters {
    fn drop(&mut self) {
        if let Some(inner) = self.0.take() {
            timed(|| inner.unregister());
        }
    }
}
struct Registers(ARef<MmWithUser>);
impl MmuNotifier for Registers {
    type Callbacks = ReleaseOnly;
}
impl Drop for Registers {
    fn drop(&mut self) {
        timed(|| {
            let again: Reg<Inner> = KBox::pin_init(Registration::new(&self.0, Inner), GFP_KERNEL)?;
            drop(again);
            Ok(())
        });
    }
}
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
    fn ioctl(_: &Self, _: &File, cmd: u32, count: usize) -> Result<isize> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        EXPECTED.store(i64::from(cmd & 0xff) << 16 | count as i64, Relaxed);
        for it in [&DROPPED, &LONGEST, &ERROR] {
            it.store(0, Relaxed);
        }
        match cmd & 0xff {
            1 => {
                for _ in 0..count {
                    let inner =
                        KBox::into_inner(KBox::init(Registration::new(mm, Inner), GFP_KERNEL)?);
                    let it: Reg<Unregisters> = KBox::pin_init(
                        Registration::new(mm, Unregisters(Some(inner))),
                        GFP_KERNEL,
                    )?;
                    drop(it);
                }
            }
            2 => {
                let mut all: KVec<Reg<Registers>> = KVec::new();
                for _ in 0..count {
                    let it = KBox::pin_init(
                        Registration::new(mm, Registers(ARef::from(mm))),
                        GFP_KERNEL,
                    )?;
                    all.push(it, GFP_KERNEL)?;
                }
                drop(all);
            }
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}
struct Said;
impl Drop for Said {
    fn drop(&mut self) {
        pr_info!("dropwaits: exit\n");
    }
}
#[pin_data]
struct M {
    #[pin]
    d: MiscDeviceRegistration<Dev>,
    said: Said,
}
impl kernel::InPlaceModule for M {
    fn init(_: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            d <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"dropwaits" }),
            said: Said,
        })
    }
}
