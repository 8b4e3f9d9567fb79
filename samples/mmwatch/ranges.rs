// SPDX-License-Identifier: GPL-2.0

//! Ranges of memory with a counter each.

use super::{
    recorder::note_range,
    watch::Watch,
    Slot,
    MAX_RANGES, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc, //
    }, //
};
use tether::mm::{
    interval_notifier::{
        IntervalNotifier,
        Invalidate,
        OnePass,
        Registration as IntervalRegistration, //
    },
    mmu_notifier::{
        Event as MmuEvent,
        Range,
        WouldSleep, //
    },
    shared_counters::SharedCounters, //
};

/// The notifier of a range.
pub(super) struct RangeRecorder {
    pub(super) watch: Arc<Watch>,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) cookie: u64,
    pub(super) counter: Option<(Arc<SharedCounters>, usize)>,
    /// The range is being removed, and its counter was incremented for the last time.
    pub(super) removed: Atomic<bool>,
    pub(super) _slot: Slot<MAX_RANGES>,
}

impl RangeRecorder {
    pub(super) fn counter(&self) -> Option<&Atomic<u64>> {
        let (counters, index) = self.counter.as_ref()?;
        counters.get(*index)
    }

    /// Increments the counter: readers learn that the range has changed.
    fn count(&self) {
        if let Some(counter) = self.counter() {
            counter.fetch_add(1u64, Full);
        }
    }

    /// Increments the counter for the last time.
    pub(super) fn count_removed(&self) {
        self.removed.store(true, Relaxed);
        self.count();
    }
}

impl IntervalNotifier for RangeRecorder {
    type Shadow = ();
    type Passes = OnePass;

    fn try_invalidate(&self, range: &Range<'_>, shadow: &mut ()) -> Result<(), WouldSleep> {
        self.invalidate(range, shadow);
        Ok(())
    }
}

impl Invalidate for RangeRecorder {
    fn invalidate(&self, range: &Range<'_>, _shadow: &mut ()) {
        // The counter of a range that is being removed may not change any more.
        if self.removed.load(Relaxed) {
            return;
        }
        self.count();
        // `Recorder` records the end of the address space, once.
        if range.event() != MmuEvent::Release {
            let (start, end) = (range.start().max(self.start), range.end().min(self.end));
            note_range(&self.watch, range, start, end, self.cookie);
        }
    }
}

type WatchedRange = Pin<KBox<IntervalRegistration<RangeRecorder>>>;

/// The ranges of a watch.
pub(super) struct WatchedRanges {
    pub(super) ranges: KVVec<Option<WatchedRange>>,
    /// Indices of removed ranges.
    pub(super) free: KVVec<u32>,
}

impl WatchedRanges {
    /// Returns the index for the next range.
    pub(super) fn place(&mut self, counters: Option<&SharedCounters>) -> Result<u32> {
        if let Some(index) = self.free.last() {
            return Ok(*index);
        }
        let index = self.ranges.len();
        if counters.is_some_and(|counters| index >= counters.len()) {
            return Err(ENOSPC);
        }
        // Reserve memory now, so that `put()` and `give_back()` cannot fail for lack of memory.
        self.ranges.reserve(1, GFP_KERNEL_ACCOUNT)?;
        self.free.reserve(index + 1, GFP_KERNEL_ACCOUNT)?;
        Ok(index as u32)
    }

    pub(super) fn put(&mut self, index: u32, range: WatchedRange) -> Result {
        if self.free.last() == Some(&index) {
            self.free.pop();
            self.ranges[index as usize] = Some(range);
        } else {
            self.ranges
                .push_within_capacity(Some(range))
                .map_err(|_| ENOMEM)?;
        }
        Ok(())
    }

    pub(super) fn take(&mut self, index: usize) -> Result<WatchedRange> {
        let range = self.ranges.get_mut(index).and_then(Option::take);
        let range = range.ok_or(ENOENT)?;
        // Mark the range as changed before its notifier is unregistered.
        range.notifier().count_removed();
        Ok(range)
    }

    /// Makes the index of a range reusable. The range must be unregistered: until then its notifier
    /// uses the counter at this index.
    pub(super) fn give_back(&mut self, index: usize) -> Result {
        self.free
            .push_within_capacity(index as u32)
            .map_err(|_| ENOMEM)
    }
}
