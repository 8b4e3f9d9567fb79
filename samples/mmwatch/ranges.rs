// SPDX-License-Identifier: GPL-2.0

//! Ranges of memory with a counter each.

use super::{
    recorder::note_range,
    watch::Watch,
    Slot,
    MAX_RANGES, //
};
use kernel::{
    mm::virt::VmaNew,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};
use tether::mm::{
    mmu_interval_notifier::{
        Invalidate,
        MmuIntervalNotifier,
        OnePass,
        Registration as IntervalRegistration, //
    },
    mmu_notifier::{
        Event as MmuEvent,
        MmuNotifierRange,
        WouldSleep, //
    },
    shared_counters::{
        Counter,
        SharedCounters, //
    }, //
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
    pub(super) fn counter(&self) -> Option<&Counter> {
        let (counters, index) = self.counter.as_ref()?;
        counters.get(*index)
    }

    /// Increments the counter: readers learn that the range has changed.
    fn count(&self) {
        if let Some(counter) = self.counter() {
            counter.add(1);
        }
    }

    /// Increments the counter for the last time.
    pub(super) fn count_removed(&self) {
        self.removed.store(true, Relaxed);
        self.count();
    }
}

impl MmuIntervalNotifier for RangeRecorder {
    type Shadow = ();
    type Passes = OnePass;

    fn try_invalidate(
        &self,
        range: &MmuNotifierRange<'_>,
        shadow: &mut (),
    ) -> Result<(), WouldSleep> {
        self.invalidate(range, shadow);
        Ok(())
    }
}

impl Invalidate for RangeRecorder {
    fn invalidate(&self, range: &MmuNotifierRange<'_>, _shadow: &mut ()) {
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

pub(super) type WatchedRange = Pin<KBox<IntervalRegistration<RangeRecorder>>>;

/// The ranges of a watch, and their counters.
pub(super) struct WatchedRanges {
    pub(super) ranges: KVVec<Option<WatchedRange>>,
    /// Indices of `ranges` that no range has.
    free: KVVec<u32>,
    /// Number of ranges that were added or are being added. Removed ranges count.
    added: usize,
    /// The counters, if the process has mapped them.
    counters: Option<Arc<SharedCounters>>,
}

/// An index for a range that is being added.
pub(super) struct Place {
    pub(super) index: u32,
    pub(super) counters: Option<Arc<SharedCounters>>,
}

impl WatchedRanges {
    pub(super) fn new() -> Self {
        Self {
            ranges: KVVec::new(),
            free: KVVec::new(),
            added: 0,
            counters: None,
        }
    }

    /// Maps `wanted` counters to `area`. The first call creates them.
    pub(super) fn map(&mut self, area: &VmaNew, wanted: usize) -> Result {
        if wanted > MAX_RANGES {
            return Err(ENOSPC);
        }
        match &self.counters {
            Some(counters) if counters.len() >= wanted => counters.map(area),
            // Counters cannot be created after the first range was added.
            None if self.added == 0 => {
                let counters = SharedCounters::new(wanted, GFP_KERNEL_ACCOUNT)?;
                // A mapping that fails must not determine the number of counters.
                counters.map(area)?;
                self.counters = Some(Arc::new(counters, GFP_KERNEL)?);
                Ok(())
            }
            _ => Err(EBUSY),
        }
    }

    /// Takes an index for the next range. [`Self::put`] or [`Self::not_added`] follows.
    pub(super) fn place(&mut self) -> Result<Place> {
        let limit = self.counters.as_ref().map_or(MAX_RANGES, |it| it.len());
        // Almost always the last one. Ranges that were not added may have left larger indices than
        // the counters have that were created afterwards.
        let free = self.free.iter().rposition(|it| (*it as usize) < limit);
        let index = match free {
            Some(place) => self.free.remove(place).map_err(|_| EINVAL)?,
            None => {
                let index = self.ranges.len();
                if index >= limit {
                    return Err(ENOSPC);
                }
                // Reserve memory for `give_back()`, which cannot fail.
                self.free
                    .reserve(index + 1 - self.free.len(), GFP_KERNEL_ACCOUNT)?;
                self.ranges.push(None, GFP_KERNEL_ACCOUNT)?;
                index as u32
            }
        };
        self.added += 1;
        Ok(Place {
            index,
            counters: self.counters.clone(),
        })
    }

    /// Stores the range that was registered for a place.
    pub(super) fn put(&mut self, index: u32, range: Option<WatchedRange>) {
        self.ranges[index as usize] = range;
    }

    /// Releases an index, because the range could not be registered.
    pub(super) fn not_added(&mut self, index: u32) {
        self.added -= 1;
        self.give_back(index);
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
    pub(super) fn give_back(&mut self, index: u32) {
        // `place()` has reserved the memory, so this cannot fail.
        let _ = self.free.push_within_capacity(index);
    }
}
