// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Takes and drops handles of a shared notifier in many threads of one process, stores a handle in
//! the notifier, and takes a handle while the notifier is created.
//!
//! Processes fork, execute a program, are killed, or exit meanwhile (`user.c`).
//!
//! A sound library returns the same notifier for each handle of the same type and address space
//! while a handle exists. release() is called at most once for each notifier, and each notifier
//! that was created is dropped.
use kernel::{
    fs::File,
    mm::MmWithUser,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        Mutex,
    },
};
use tether::{
    misc_device::*,
    mm::{
        mmu_notifier::{InvalidateRanges, MmuNotifier, MmuNotifierRange, Ranges},
        shared_notifier::{Shared, SharedNotifier},
        Mm,
    },
};
module! { type: M, name: "sharedone", authors: ["h"], description: "attack", license: "GPL", }
static MADE: Atomic<i64> = Atomic::new(0);
static GONE: Atomic<i64> = Atomic::new(0);
static BAD: Atomic<i64> = Atomic::new(0);
/// The number of calls of `new()`. Every fifth call takes a handle of its own type first.
static AGAIN: Atomic<i64> = Atomic::new(0);
struct One {
    own: Pin<KBox<Mutex<Option<Shared<One>>>>>,
    released: Atomic<i64>,
}
impl MmuNotifier for One {
    type Callbacks = Ranges;
    fn release(&self, _: &Mm) {
        if self.released.fetch_add(1, Full) != 0 {
            pr_err!("sharedone: BAD: released twice\n");
        }
        let own = self.own.lock().take();
        drop(own);
    }
}
#[vtable]
impl InvalidateRanges for One {
    fn invalidate_range_start(&self, _: &MmuNotifierRange<'_>) {
        if self.released.load(Relaxed) > 1 {
            BAD.fetch_add(1, Full);
        }
    }
}
impl SharedNotifier for One {
    fn new(mm: &MmWithUser) -> Result<Self> {
        if AGAIN.fetch_add(1, Full) % 5 == 1 {
            // Another notifier is created before this one.
            drop(Shared::<One>::get(mm));
        }
        MADE.fetch_add(1, Full);
        Ok(One {
            own: KBox::pin_init(new_mutex!(None), GFP_KERNEL)?,
            released: Atomic::new(0),
        })
    }
}
impl Drop for One {
    fn drop(&mut self) {
        GONE.fetch_add(1, Full);
    }
}
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
    fn ioctl(_: &Self, _: &File, cmd: u32, _: usize) -> Result<isize> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        let one = Shared::<One>::get(mm)?;
        let two = Shared::<One>::get(mm)?;
        if !core::ptr::eq(&*one, &*two) || !one.is_on(mm) {
            BAD.fetch_add(1, Full);
        }
        match cmd & 0xff {
            1 => drop(one),
            2 => {
                // The notifier keeps a handle to itself until release().
                let old = two.own.lock().replace(one);
                drop(old);
            }
            _ => {
                let old = two.own.lock().take();
                drop((one, old));
            }
        }
        Ok(0)
    }
}
struct Said;
impl Drop for Said {
    fn drop(&mut self) {
        for _ in 0..600 {
            if MADE.load(Relaxed) == GONE.load(Relaxed) {
                break;
            }
            kernel::time::delay::fsleep(kernel::time::Delta::from_millis(20));
        }
        pr_info!(
            "sharedone: made {} gone {} bad {}\n",
            MADE.load(Relaxed),
            GONE.load(Relaxed),
            BAD.load(Relaxed)
        );
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
            d <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"sharedone" }),
            said: Said,
        })
    }
}
