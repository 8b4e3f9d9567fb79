// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Unregisters a notifier while the kernel changes a range, after the call that announces it.
//!
//! The documentation of `invalidate_range_end()` says that it is called once for each call of
//! `invalidate_range_start()`. A driver that counts the ranges that are being changed, and waits for
//! the end of the last one before it frees its device, relies on this.
//!
//! A sound library calls both functions equally often, or documents the exception.
use kernel::{
    fs::File,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
        Mutex,
    },
    time::{delay::fsleep, Delta},
};
use tether::{
    kthread,
    misc_device::*,
    mm::{
        mmu_notifier::{InvalidateRanges, MmuNotifier, MmuNotifierRange, Ranges, Registration},
        MmWithUser,
    },
};
module! { type: M, name: "rangeends", authors: ["h"], description: "attack", license: "GPL", }
static STARTS: Atomic<i32> = Atomic::new(0);
static ENDS: Atomic<i32> = Atomic::new(0);
struct N;
impl MmuNotifier for N {
    type Callbacks = Ranges;
}
#[vtable]
impl InvalidateRanges for N {
    fn invalidate_range_start(&self, range: &MmuNotifierRange<'_>) {
        if range.end() - range.start() > 64 << 20 {
            STARTS.fetch_add(1, Relaxed);
        }
    }
    fn invalidate_range_end(&self, range: &MmuNotifierRange<'_>) {
        if range.end() - range.start() > 64 << 20 {
            ENDS.fetch_add(1, Relaxed);
        }
    }
}
impl Drop for N {
    fn drop(&mut self) {
        pr_info!(
            "rangeends: dropped after {} starts, {} ends\n",
            STARTS.load(Relaxed),
            ENDS.load(Relaxed)
        );
    }
}
#[pin_data]
struct Dev {
    #[pin]
    thread: Mutex<Option<kthread::Thread<()>>>,
}
#[vtable]
impl MiscDevice for Dev {
    type Ptr = Pin<KBox<Self>>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        KBox::pin_init(pin_init!(Self { thread <- new_mutex!(None) }), GFP_KERNEL)
    }
    fn ioctl(me: Pin<&Self>, _: &File, _: u32, _: usize) -> Result<isize> {
        let current = kernel::current!();
        let mm: ARef<MmWithUser> = current.mm().ok_or(EINVAL)?.into();
        let it = KBox::init(Registration::new(&mm, N), GFP_KERNEL)?;
        let thread = kthread::spawn(c"rangeends", move |context| {
            while STARTS.load(Relaxed) == ENDS.load(Relaxed) && !context.should_stop() {
                fsleep(Delta::from_micros(200));
            }
            let result = KBox::into_inner(it).unregister();
            pr_info!("rangeends: unregistered {result:?}\n");
        })?;
        *me.thread.lock() = Some(thread);
        Ok(0)
    }
}
#[pin_data]
struct M {
    #[pin]
    d: MiscDeviceRegistration<Dev>,
}
impl kernel::InPlaceModule for M {
    fn init(_: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self { d <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"rangeends" }) })
    }
}
