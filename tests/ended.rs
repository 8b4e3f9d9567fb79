// SPDX-License-Identifier: GPL-2.0

//! Leaks a mirror of the loading process's memory, and a thread that uses the mirror after module
//! teardown has removed it. The results of the thread are in the kernel log.

use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use tether::{
    kthread::{
        self,
        Wake, //
    },
    mm::{
        hmm::{
            Pfn,
            Request, //
        },
        mirror::{
            new_mirror,
            Mirror,
            MirrorDevice, //
        },
        mmu_notifier::{
            Event,
            MmuNotifierRange,
            WouldSleep, //
        },
        MmWithUser, //
    },
};

module! {
    type: Ended,
    name: "ended",
    authors: ["The Tether developers"],
    description: "Test: uses a mirror after its teardown",
    license: "GPL",
    params: {
        start: u64 {
            default: 0,
            description: "The address of a page of the loading process",
        },
    },
}

struct Device;

impl MirrorDevice for Device {
    fn invalidate(&self, range: &MmuNotifierRange<'_>) {
        if range.event() == Event::Release {
            pr_info!("the device is notified of the end\n");
        }
    }

    fn try_invalidate(&self, _range: &MmuNotifierRange<'_>) -> Result<(), WouldSleep> {
        Ok(())
    }
}

struct Ended;

/// Uses the mirror. Returns the number of pages found, and the results of three calls.
fn answers(mirror: &Mirror<Device>, mm: &MmWithUser, page: usize) -> [i32; 4] {
    let code = |result: Result| result.map_or_else(|error| error.to_errno(), |()| 0);
    let found = mirror.with_pages(|pages| pages.get(page).is_some());
    [
        found.into(),
        code(mirror.fault(mm, page, 1, Request::Write, None)),
        code(mirror.snapshot(mm, page, &mut [Pfn::default()])),
        mirror.is_on(mm).into(),
    ]
}

impl kernel::Module for Ended {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        let page = module_parameters::start.value() as usize;
        let mirror = Arc::pin_init(
            new_mirror!(mm, 0, usize::MAX - PAGE_SIZE, Device),
            GFP_KERNEL,
        )?;
        mirror.fault(mm, page, 1, Request::Write, None)?;
        let before = answers(&mirror, mm, page);
        pr_info!("before: {before:?}\n");
        let mm = ARef::from(mm);
        let own = mirror.clone();
        let thread = kthread::spawn(c"ended", move |context| {
            while context.sleep() != Wake::Stopped {}
            // The mirror is older than this thread, so that teardown removes it first.
            fsleep(Delta::from_secs(1));
            let after = answers(&own, &mm, page);
            pr_info!("after: {after:?}\n");
        })?;
        core::mem::forget(thread);
        core::mem::forget(mirror);
        Ok(Self)
    }
}
