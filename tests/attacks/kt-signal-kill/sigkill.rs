// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Sends SIGKILL to a thread that has not allowed it, but has used an address space before.
//!
//! `with_mm()` lets the kernel send SIGKILL to the thread, also afterwards. A sound library ignores
//! a signal that the body has not allowed by `allow_signal()`, as `Thread::send_signal()` says.
use kernel::{
    fs::File,
    mm::MmWithUser,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
        Arc,
    },
    time::{delay::fsleep, Delta, Instant, Monotonic},
};
use tether::{
    kthread,
    misc_device::*,
    pid,
    task_work::{self, NotifyMode},
};
module! { type: M, name: "sigkill", authors: ["h"], description: "attack", license: "GPL", }
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
    fn ioctl(_: &Self, _: &File, form: u32, stopped: usize) -> Result<isize> {
        let current = kernel::current!();
        let mm: ARef<MmWithUser> = current.mm().ok_or(EINVAL)?.into();
        let stopped = pid::find_task(stopped as i32).ok_or(ESRCH)?;
        let go = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let seen = go.clone();
        let thread = kthread::spawn(c"sigkill", move |context| {
            if form & 1 != 0 {
                context.with_mm(&mm, || ());
            }
            seen.store(1, Relaxed);
            while seen.load(Relaxed) < 2 {
                fsleep(Delta::from_millis(10));
            }
            // No signal was allowed, and no request to stop arrives.
            let begun = Instant::<Monotonic>::now();
            let result = task_work::add_fn(&stopped, |_| (), NotifyMode::Signal, GFP_KERNEL)
                .map_err(Error::from)
                .and_then(|pending| {
                    let result = pending.wait_timeout(Delta::from_secs(1));
                    drop(pending.cancel());
                    result
                });
            let killed = task_work::add_fn(&stopped, |_| (), NotifyMode::Signal, GFP_KERNEL)
                .map_err(Error::from)
                .and_then(|pending| {
                    let result = pending.wait_timeout(Delta::from_secs(1));
                    drop(pending.cancel());
                    result
                });
            pr_info!(
                "sigkill: form {form}: {result:?} {killed:?} after {} ms\n",
                begun.elapsed().as_millis()
            );
            // The thread has no means to take the signal.
            let begun = Instant::<Monotonic>::now();
            for _ in 0..3 {
                pr_info!(
                    "sigkill: form {form}: sleep: {}\n",
                    match context.sleep_for(Delta::from_millis(200)) {
                        kthread::Wake::Signal(_) => "signal",
                        kthread::Wake::Stopped => "stopped",
                        _ => "other",
                    }
                );
            }
            pr_info!(
                "sigkill: form {form}: slept {} ms\n",
                begun.elapsed().as_millis()
            );
        })?;
        while go.load(Relaxed) < 1 {
            fsleep(Delta::from_millis(10));
        }
        pr_info!(
            "sigkill: form {form}: send: {:?}\n",
            thread.send_signal(if form & 2 != 0 { 15 } else { 9 })
        );
        go.store(2, Relaxed);
        let _ = thread.join();
        Ok(0)
    }
}
#[pin_data]
struct M {
    #[pin]
    dev: MiscDeviceRegistration<Dev>,
}
impl kernel::InPlaceModule for M {
    fn init(_: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"sigkill" }),
        })
    }
}
