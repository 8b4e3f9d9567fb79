// SPDX-License-Identifier: GPL-2.0

//! The parts of an address space that are watched, with `--range` and `--map`.
//!
//! The parts are kept disjoint, so that an invalidation is counted once. A mapping that has grown
//! is watched as one range again: the new range is added before the old one is removed, so that no
//! invalidation is missed. Between the two, both ranges record the same invalidations; the events
//! of the old range are then discarded.

use crate::mapping::Mapping;
use libmmwatch::Device;
use libmmwatch::Event;
use std::collections::HashMap;
use std::io;
use std::ops::Range;

/// The parts of an address space that are watched, unless all of it is.
#[derive(Clone, Default)]
pub struct Parts {
    pub ranges: Vec<Range<u64>>,
    /// Text that the names of mappings contain.
    pub mappings: Vec<String>,
}

impl Parts {
    pub fn is_all(&self) -> bool {
        self.ranges.is_empty() && self.mappings.is_empty()
    }

    /// Returns the ranges to watch, disjoint and sorted.
    fn wanted(&self, mappings: &[Mapping]) -> Vec<Range<u64>> {
        let named = mappings
            .iter()
            .filter(|mapping| self.mappings.iter().any(|it| mapping.name.contains(it)))
            .map(|mapping| mapping.start..mapping.end);
        union(self.ranges.iter().cloned().chain(named).collect())
    }
}

/// Merges ranges that overlap or touch.
fn union(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// The ranges of a device.
pub trait Ranges {
    /// Adds a range, and returns its index.
    fn add(&self, range: Range<u64>, cookie: u64) -> io::Result<u32>;
    fn remove(&self, index: u32) -> io::Result<()>;
}

impl Ranges for Device {
    fn add(&self, range: Range<u64>, cookie: u64) -> io::Result<u32> {
        self.add_range(range, cookie).map(|added| added.index)
    }

    fn remove(&self, index: u32) -> io::Result<()> {
        self.remove_range(index)
    }
}

/// A range that is watched.
struct Piece {
    range: Range<u64>,
    index: u32,
    /// Identifies the range in events.
    cookie: u64,
}

/// The ranges that are watched.
#[derive(Default)]
pub struct Pieces {
    pieces: Vec<Piece>,
    cookies: u64,
    /// For each replaced range: the cookie of its replacement, and whether an event of the
    /// replacement was seen.
    replaced: HashMap<u64, (u64, bool)>,
    /// The last event of a range that is being replaced.
    last: Option<Event>,
    /// The ranges that could not be watched. Each failure is reported once.
    failed: Vec<Range<u64>>,
}

impl Pieces {
    /// Watches the parts that are mapped at the moment. Returns the failures.
    pub fn update(
        &mut self,
        device: &impl Ranges,
        parts: &Parts,
        mappings: &[Mapping],
    ) -> Vec<io::Error> {
        let wanted = parts.wanted(mappings);
        let mut errors = Vec::new();
        let overlap = |a: &Range<u64>, b: &Range<u64>| a.start < b.end && b.start < a.end;
        // Parts that are no longer mapped.
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pieces)
            .into_iter()
            .partition(|piece| wanted.iter().any(|it| overlap(it, &piece.range)));
        self.pieces = kept;
        for piece in gone {
            errors.extend(device.remove(piece.index).err());
        }
        self.failed.retain(|range| wanted.contains(range));
        for range in wanted {
            let holds = |it: &Range<u64>| it.start <= range.start && range.end <= it.end;
            if self.pieces.iter().any(|piece| holds(&piece.range)) || self.failed.contains(&range) {
                continue;
            }
            self.cookies += 1;
            let cookie = self.cookies;
            match device.add(range.clone(), cookie) {
                Ok(index) => {
                    let (old, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pieces)
                        .into_iter()
                        .partition(|piece| overlap(&range, &piece.range));
                    self.pieces = kept;
                    self.pieces.push(Piece {
                        range,
                        index,
                        cookie,
                    });
                    for piece in old {
                        errors.extend(device.remove(piece.index).err());
                        self.replaced.insert(piece.cookie, (cookie, false));
                    }
                }
                Err(error) => {
                    errors.push(error);
                    self.failed.push(range);
                }
            }
        }
        errors
    }

    /// Returns whether an event reports an invalidation that was already reported for another
    /// range.
    pub fn is_repeated(&mut self, event: &Event) -> bool {
        if self.replaced.is_empty() {
            return false;
        }
        if let Some((_, seen)) = self.replaced.get(&event.cookie) {
            if *seen {
                return true;
            }
            self.last = Some(event.clone());
            return false;
        }
        for (new, seen) in self.replaced.values_mut() {
            *seen |= *new == event.cookie;
        }
        // Both ranges may have recorded the invalidation, the old range first.
        self.last.take().is_some_and(|last| {
            self.replaced
                .get(&last.cookie)
                .is_some_and(|(new, _)| *new == event.cookie)
                && (last.pid, last.kind, last.syscall) == (event.pid, event.kind, event.syscall)
                && event.start <= last.start
                && last.end <= event.end
                && last.count + 1 == event.count
        })
    }
}

#[cfg(test)]
mod tests;
