// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Passes addresses, lengths, counts and times at their limits to the functions of interval
//! notifiers, mirrors and page look-ups.
//!
//! An addition that overflows would panic.
//!
//! A sound library accepts exactly the ranges that are not empty and do not overflow, and returns
//! an error or a result for all other arguments.
use kernel::{fs::File, mm::MmWithUser, page::PAGE_SIZE, prelude::*, time::Delta};
use tether::{
    misc_device::*,
    mm::{
        hmm::{DeviceOwner, HmmRange, Pfn, Request},
        mirror::{new_mirror, Mirror, MirrorDevice},
        mmu_interval_notifier::{
            new_mmu_interval_notifier, Invalidate, InvalidateInTwoPasses, MmuIntervalNotifier,
            OnePass, Registration as Interval, Shadow, TwoPasses,
        },
        mmu_notifier::{MmuNotifierRange, WouldSleep},
    },
};
module! { type: M, name: "arith", authors: ["h"], description: "attack", license: "GPL", }
struct N;
impl MirrorDevice for N {
    fn invalidate(&self, _: &MmuNotifierRange<'_>) {}
    fn try_invalidate(&self, _: &MmuNotifierRange<'_>) -> Result<(), WouldSleep> {
        Ok(())
    }
}
impl MmuIntervalNotifier for N {
    type Shadow = usize;
    type Passes = OnePass;
    fn try_invalidate(&self, _: &MmuNotifierRange<'_>, _: &mut usize) -> Result<(), WouldSleep> {
        Ok(())
    }
}
impl Invalidate for N {
    fn invalidate(&self, r: &MmuNotifierRange<'_>, n: &mut usize) {
        *n = n.wrapping_add(r.end() - r.start());
        *n %= 1000;
    }
}
struct T;
impl MmuIntervalNotifier for T {
    type Shadow = ();
    type Passes = TwoPasses;
    fn try_invalidate(&self, _: &MmuNotifierRange<'_>, _: &mut ()) -> Result<(), WouldSleep> {
        Ok(())
    }
}
impl InvalidateInTwoPasses for T {
    type Begun = ();
    fn begin(&self, _: &MmuNotifierRange<'_>, _: &mut ()) -> Option<()> {
        Some(())
    }
    fn finish(&self, (): (), _: &Shadow<()>) {}
}
const M1: usize = usize::MAX;
const EDGES: [usize; 24] = [
    0,
    1,
    0x7ff,
    PAGE_SIZE - 1,
    PAGE_SIZE,
    PAGE_SIZE + 1,
    0x7fff_ffff_e000,
    0x7fff_ffff_f000,
    0x8000_0000_0000,
    1 << 52,
    (1 << 52) - 1,
    (1 << 51) + 1,
    1 << 63,
    (1 << 63) - 1,
    0xffff_8880_0000_0000,
    0xffff_ffff_ff60_0000,
    0xffff_ffff_8000_0000,
    M1 - 2 * PAGE_SIZE,
    M1 - PAGE_SIZE,
    M1 - PAGE_SIZE + 1,
    M1 - 1,
    M1,
    M1 & !(PAGE_SIZE - 1),
    M1 - PAGE_SIZE - 1,
];
fn all(mm: &MmWithUser, inside: usize) -> Result<(usize, usize, usize)> {
    let (mut made, mut looked, mut found) = (0, 0, 0);
    let edges = || {
        Iterator::chain(
            EDGES.iter().copied(),
            [inside, inside + 1, inside + PAGE_SIZE],
        )
    };
    let times = [
        Delta::from_nanos(i64::MIN),
        Delta::from_nanos(-1),
        Delta::from_nanos(0),
        Delta::from_nanos(1),
        Delta::from_nanos(i64::MAX),
    ];
    let owner = DeviceOwner::new();
    for start in edges() {
        for length in edges() {
            let two: Result<Pin<KBox<Interval<T>>>> = KBox::pin_init(
                new_mmu_interval_notifier!(mm, start, length, T, ()),
                GFP_KERNEL,
            );
            drop(two);
            let one: Result<Pin<KBox<Interval<N>>>> = KBox::pin_init(
                new_mmu_interval_notifier!(mm, start, length, N, 0),
                GFP_KERNEL,
            );
            let mirror: Result<Pin<KBox<Mirror<N>>>> =
                KBox::pin_init(new_mirror!(mm, start, length, N), GFP_KERNEL);
            let expected = length != 0 && start.checked_add(length - 1).is_some();
            if one.is_ok() != expected || mirror.is_ok() != expected {
                pr_err!("arith: BAD {start:x} {length:x}\n");
            }
            let (Ok(one), Ok(mirror)) = (one, mirror) else {
                continue;
            };
            made += 1;
            if length < PAGE_SIZE && made % 7 != 0 {
                continue;
            }
            for (n, at) in edges().enumerate() {
                let mut pfns = [Pfn::default(); 3];
                for count in 0..=3 {
                    let time = times[(n + count + made) % times.len()];
                    let requests = [Request::Read, Request::Snapshot, Request::Write];
                    let range = HmmRange::new(at, &mut pfns[..count])
                        .timeout(time)
                        .owner(&owner);
                    looked += usize::from(one.fault(mm, range, |_, _| ()).is_ok());
                    let range =
                        HmmRange::new(at, &mut pfns[..count]).requests(&requests[..3 - count]);
                    looked += usize::from(one.fault(mm, range, |_, _| ()).is_ok());
                    let range = HmmRange::new(at, &mut pfns[..count])
                        .request(Request::Write)
                        .requests(&requests[..count])
                        .timeout(Delta::from_millis(50));
                    looked += usize::from(one.fault(mm, range, |_, _| ()).is_ok());
                }
                looked += usize::from(mirror.snapshot(mm, at, &mut pfns).is_ok());
                looked += usize::from(mirror.make_exclusive(mm, at).is_ok());
                for count in edges() {
                    if count < 1 << 30 || n % 3 == 0 {
                        looked += usize::from(
                            mirror
                                .fault(mm, at, count, Request::Read, Some(times[n % 5]))
                                .is_ok(),
                        );
                        looked +=
                            usize::from(mirror.fault(mm, at, count, Request::Write, None).is_ok());
                    }
                }
                mirror.with_pages(|pages| {
                    let Some(frame) = pages.get(at) else { return };
                    found += 1;
                    let mut to = [0u8; 16];
                    for offset in edges() {
                        for size in [0, 1, 16] {
                            let fits = offset.checked_add(size).is_some_and(|end| end <= PAGE_SIZE);
                            if frame.read(offset, &mut to[..size]).is_ok() != fits {
                                pr_err!("arith: BAD read {offset:x} {size}\n");
                            }
                            if frame.write(offset, &to[..size]).is_ok() && !fits {
                                pr_err!("arith: BAD write {offset:x} {size}\n");
                            }
                        }
                    }
                });
                let _ = one.read_timeout(times[n % 5], || Ok(()), |(), n| *n);
            }
        }
    }
    Ok((made, looked, found))
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
        let (made, looked, found) = all(mm, arg)?;
        pr_info!("arith: made {made} looked {looked} found {found}\n");
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
        try_pin_init!(Self { d <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"arith" }) })
    }
}
