// SPDX-License-Identifier: GPL-2.0

//! The notifier of a watched address space, which records events.

use super::{
    abi::{
        Event,
        FLAG_BLOCKABLE,
        FLAG_EXECUTED,
        KIND_OTHER,
        KIND_RELEASE, //
    },
    watch::{
        is_same,
        Watch,
        FOLLOW,
        PUBLISH, //
    }, //
};
use kernel::{
    mm::{
        Mm,
        MmWithUser, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    }, //
};
use tether::{
    mm::mmu_notifier::{
        Event as MmuEvent,
        InvalidateRanges,
        MmuNotifier,
        MmuNotifierRange,
        Ranges,
        Registration, //
    },
    pid,
    task_work::{
        self,
        NotifyMode, //
    }, //
};

/// Records that `start` to `end` is invalidated, as a part of `range`.
pub(super) fn note_range(
    watch: &Arc<Watch>,
    range: &MmuNotifierRange<'_>,
    start: usize,
    end: usize,
    cookie: u64,
) {
    if watch.ended.load(Relaxed) {
        return;
    }
    let kind = match range.event() {
        MmuEvent::Unmap => 0,
        MmuEvent::Clear => 1,
        MmuEvent::ProtectionVma => 2,
        MmuEvent::ProtectionPage => 3,
        MmuEvent::SoftDirty => 4,
        MmuEvent::Release => KIND_RELEASE,
        MmuEvent::Migrate => 6,
        MmuEvent::Exclusive => 7,
        _ => KIND_OTHER,
    };
    let flags = if range.is_blockable() {
        FLAG_BLOCKABLE
    } else {
        0
    };
    let pages = (end - start) / PAGE_SIZE;
    watch.pages.fetch_add(pages as u64, Relaxed);
    let event = Event {
        start: start as u64,
        end: end as u64,
        kind,
        flags,
        cookie,
        ..Event::default()
    };
    watch.note(event, range.mm());
    // If the work is already queued, its run publishes this invalidation as well. If the task is
    // exiting, there is no user space to publish the count to.
    if watch.count_address != 0 {
        let _ = task_work::add::<_, PUBLISH>(&watch.target, watch.clone(), NotifyMode::Resume);
    }
}

/// The notifier of an address space.
pub(super) struct Recorder {
    watch: Arc<Watch>,
    /// Records the end of the address space only; its invalidations are recorded by ranges.
    end_only: bool,
}

impl Recorder {
    pub(super) fn register(
        watch: &Arc<Watch>,
        mm: &MmWithUser,
        end_only: bool,
    ) -> Result<Pin<KBox<Registration<Self>>>> {
        let watch = watch.clone();
        KBox::pin_init(Registration::new(mm, Self { watch, end_only }), GFP_KERNEL)
    }
}

#[vtable]
impl InvalidateRanges for Recorder {
    fn invalidate_range_start(&self, range: &MmuNotifierRange<'_>) {
        if !self.end_only {
            note_range(&self.watch, range, range.start(), range.end(), 0);
        }
    }
}

impl MmuNotifier for Recorder {
    type Callbacks = Ranges;

    fn release(&self, mm: &Mm) {
        let watch = &self.watch;
        let task = current!();
        let own = pid::same_thread_group(task, &watch.target);
        // The address space is detached from an exiting task before this callback. A task in an
        // exec has its new address space already.
        let executed = own && task.mm().is_some_and(|new| !is_same(new, mm));
        let event = Event {
            end: u64::MAX,
            kind: KIND_RELEASE,
            flags: FLAG_BLOCKABLE | if executed { FLAG_EXECUTED } else { 0 },
            ..Event::default()
        };
        watch.ended.store(true, Relaxed);
        watch.note(event, mm);
        if watch.permission.is_some() {
            // If this runs in another process, that process held a reference to the address space
            // for longer than the watched process. The state of the watched process is unknown
            // then.
            let mut result = if own { Ok(()) } else { Err(EBUSY) };
            if executed {
                result = task_work::add::<_, FOLLOW>(task, watch.clone(), NotifyMode::Resume)
                    .map_err(|refused| refused.error);
                if result.is_ok() {
                    return;
                }
            }
            if let Err(error) = result {
                watch.note_not_followed(error);
            }
        }
        watch.set_over();
    }
}
