// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Drops the last user of an address space in a closure that has its pages, and uses the pages.
//!
//! The closure runs with the table of a mirror locked. The end of the address space frees all
//! pages without unmapping them range by range, so that notifiers are called for the end only.
//!
//! A sound library refuses the frames from then on: `read()` and `write()` return an error.
use kernel::{fs::File, prelude::*, sync::Arc, time::Delta};
use tether::{
    kthread::{self},
    misc_device::*,
    mm::{
        hmm::Request,
        mirror::{new_mirror, Mirror, MirrorDevice},
        mmu_interval_notifier::{
            new_mmu_interval_notifier, Invalidate, InvalidateInTwoPasses, MmuIntervalNotifier,
            OnePass, Registration as Interval, Shadow, TwoPasses,
        },
        mmu_notifier::{
            Event, MmuNotifier, MmuNotifierRange, Registration, ReleaseOnly, WouldSleep,
        },
        Mm,
    },
};
module! { type: M, name: "mmput", authors: ["h"], description: "attack", license: "GPL", }
struct N;
impl MirrorDevice for N {
    fn invalidate(&self, r: &MmuNotifierRange<'_>) {
        pr_info!(
            "mmput: device told of {:x}-{:x} {:?}\n",
            r.start(),
            r.end(),
            r.event()
        );
    }
    fn try_invalidate(&self, _: &MmuNotifierRange<'_>) -> Result<(), WouldSleep> {
        Ok(())
    }
}
struct Two;
impl MmuIntervalNotifier for Two {
    type Shadow = u64;
    type Passes = TwoPasses;
    fn try_invalidate(&self, _: &MmuNotifierRange<'_>, _: &mut u64) -> Result<(), WouldSleep> {
        Ok(())
    }
    fn invalidate_while_locked(&self, r: &MmuNotifierRange<'_>) {
        pr_info!("mmput: two: while locked {:?}\n", r.event());
    }
}
impl InvalidateInTwoPasses for Two {
    type Begun = KBox<u64>;
    fn begin(&self, r: &MmuNotifierRange<'_>, n: &mut u64) -> Option<KBox<u64>> {
        *n += 1;
        pr_info!("mmput: two: begin {:?}\n", r.event());
        KBox::new(*n, GFP_ATOMIC).ok()
    }
    fn finish(&self, b: KBox<u64>, s: &Shadow<u64>) {
        pr_info!("mmput: two: finish {} of {}\n", *b, s.with(|n| *n));
    }
}
/// A notifier that logs the end of the address space.
struct Ends(kernel::sync::SetOnce<u8>);
impl MmuNotifier for Ends {
    type Callbacks = ReleaseOnly;
    fn release(&self, _: &Mm) {
        pr_info!("mmput: release {}\n", self.0.populate(1));
    }
}
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
    fn ioctl(_: &Self, _: &File, _: u32, arg: usize) -> Result<isize> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        let mirror: Arc<Mirror<N>> = Arc::pin_init(new_mirror!(mm, arg, 8192, N), GFP_KERNEL)?;
        let two: Pin<KBox<Interval<Two>>> = KBox::pin_init(
            new_mmu_interval_notifier!(mm, arg, 8192, Two, 0),
            GFP_KERNEL,
        )?;
        let plain: Pin<KBox<Registration<Ends>>> = KBox::pin_init(
            Registration::new(mm, Ends(kernel::sync::SetOnce::new())),
            GFP_KERNEL,
        )?;
        mirror.fault(mm, arg, 2, Request::Write, None)?;
        let own = mirror.mm().mmget_not_zero().ok_or(EINVAL)?;
        kthread::spawn(c"mmput", move |context| {
            // The process has exited when this sleep is over.
            context.sleep_for(Delta::from_secs(5));
            two.shadow().with(|n| {
                mirror.with_pages(|pages| {
                    let frame = pages.get(arg);
                    let Some(frame) = frame else {
                        pr_info!("mmput: no frame\n");
                        return;
                    };
                    let mut word = [0; 8];
                    pr_info!("mmput: before {:?} {:?}\n", frame.read(0, &mut word), word);
                    drop(own);
                    pr_info!(
                        "mmput: mm ended {}\n",
                        mirror.mm().mmget_not_zero().is_none()
                    );
                    pr_info!(
                        "mmput: after {:?} write {:?}\n",
                        frame.read(0, &mut word),
                        frame.write(0, &[9; 64])
                    );
                    pr_info!("mmput: again {}\n", pages.get(arg + 4096).is_some());
                });
                pr_info!("mmput: shadow {}\n", *n);
            });
            pr_info!(
                "mmput: shadow then {} {}\n",
                two.shadow().with(|n| *n),
                mirror.with_pages(|p| p.get(arg).is_some())
            );
            drop(plain);
            drop(mirror);
            drop(two);
            pr_info!("mmput: done\n");
        })?
        .detach()
        .map_err(|_| EIO)?;
        Ok(0)
    }
}
#[allow(dead_code)]
fn unused(_: Event, _: OnePass, _: fn() -> Option<KBox<dyn Send>>)
where
    N: Send,
{
}
#[allow(dead_code)]
trait Unused: Invalidate {}
#[pin_data]
struct M {
    #[pin]
    d: MiscDeviceRegistration<Dev>,
}
impl kernel::InPlaceModule for M {
    fn init(_: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self { d <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"mmput" }) })
    }
}
