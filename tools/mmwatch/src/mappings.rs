// SPDX-License-Identifier: GPL-2.0

//! The mappings of several address spaces, and the times during which they existed.

use crate::mapping::Mapping;
use rustc_hash::FxHashMap;

/// The mappings of one address space, in the order in which they were first seen.
#[derive(Default)]
struct Space {
    mappings: Vec<Mapping>,
    /// For each mapping: the time at which it was first seen, and at which it was no longer found.
    times: Vec<(u64, u64)>,
}

#[derive(Default)]
pub struct Mappings {
    spaces: FxHashMap<usize, Space>,
    /// Number of changes.
    changes: u32,
}

impl Mappings {
    /// Adds a mapping that was first seen at this time.
    pub fn add(&mut self, space: usize, mapping: Mapping, time: u64) {
        self.changes = self.changes.wrapping_add(1);
        let space = self.spaces.entry(space).or_default();
        space.mappings.push(mapping);
        space.times.push((time, u64::MAX));
    }

    /// Records that a mapping was no longer found at this time.
    pub fn end(&mut self, space: usize, mapping: &Mapping, time: u64) {
        let Some(space) = self.spaces.get_mut(&space) else {
            return;
        };
        let mut lives = space.mappings.iter().zip(&mut space.times).rev();
        if let Some((_, (_, end))) = lives.find(|(it, (_, end))| *end == u64::MAX && *it == mapping)
        {
            *end = time;
            self.changes = self.changes.wrapping_add(1);
        }
    }

    pub fn of(&self, space: usize) -> &[Mapping] {
        self.spaces.get(&space).map_or(&[], |it| &it.mappings)
    }

    /// Returns a number that differs after each change of the mappings.
    pub fn changes(&self) -> u32 {
        self.changes
    }

    /// Returns the named mappings that overlap a range, with the times of their beginning and end.
    fn lives(
        &self,
        space: usize,
        start: u64,
        end: u64,
    ) -> impl DoubleEndedIterator<Item = (&Mapping, u64, u64)> {
        self.spaces
            .get(&space)
            .into_iter()
            .flat_map(|space| space.mappings.iter().zip(&space.times))
            .filter(move |(it, _)| !it.name.is_empty() && it.overlaps(start, end))
            .map(|(mapping, (begun, ended))| (mapping, *begun, *ended))
    }

    /// Returns all named mappings that have overlapped a range.
    pub fn named(&self, space: usize, start: u64, end: u64) -> impl Iterator<Item = &Mapping> {
        self.lives(space, start, end).map(|(mapping, ..)| mapping)
    }

    /// Returns the name of the first mapping in a range at the given time.
    pub fn name(&self, space: usize, start: u64, end: u64, time: u64) -> Option<&str> {
        self.lives(space, start, end)
            .filter(|(_, begun, ended)| (*begun..*ended).contains(&time))
            .min_by_key(|(mapping, begun, _)| (mapping.start, u64::MAX - begun))
            .map(|(mapping, ..)| mapping.short_name())
    }

    /// Returns the name of the mapping in a range that was seen soonest after the given time: the
    /// mappings are read from time to time only.
    pub fn next_name(&self, space: usize, start: u64, end: u64, time: u64) -> Option<&str> {
        self.lives(space, start, end)
            .filter(|(_, begun, _)| *begun > time)
            .min_by_key(|(mapping, begun, _)| (*begun, mapping.start))
            .map(|(mapping, ..)| mapping.short_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(start: u64, name: &str) -> Mapping {
        Mapping {
            start,
            end: start + 0x1000,
            name: name.into(),
            offset: 0,
            inode: 0,
            executable: true,
        }
    }

    #[test]
    fn names_of_ranges() {
        let mut mappings = Mappings::default();
        for (space, start, name) in [
            (0, 0x1000, ""),
            (0, 0x1000, "/lib/a.so"),
            (1, 0x1000, "[heap]"),
        ] {
            mappings.add(space, mapping(start, name), 0);
        }
        assert_eq!(mappings.name(0, 0x1fff, 0x5000, 1), Some("a.so"));
        assert_eq!(mappings.name(1, 0, 0x1001, 1), Some("[heap]"));
        assert_eq!(mappings.name(0, 0x2000, 0x5000, 1), None);
        assert_eq!(mappings.name(2, 0x1000, 0x2000, 1), None);
    }

    #[test]
    fn the_mapping_of_that_time() {
        let mut mappings = Mappings::default();
        let at = |mappings: &Mappings, time| {
            let name = mappings.name(0, 0x1000, 0x2000, time);
            name.map(str::to_string)
        };
        mappings.add(0, mapping(0x1000, "/old"), 10);
        let before = mappings.changes();
        mappings.end(0, &mapping(0x1000, "/old"), 20);
        mappings.add(0, mapping(0x1000, "/new"), 30);
        assert_ne!(mappings.changes(), before);
        assert_eq!(at(&mappings, 5), None);
        assert_eq!(mappings.next_name(0, 0x1000, 0x2000, 5), Some("old"));
        assert_eq!(at(&mappings, 10).as_deref(), Some("old"));
        assert_eq!(at(&mappings, 20), None);
        assert_eq!(mappings.next_name(0, 0x1000, 0x2000, 20), Some("new"));
        assert_eq!(at(&mappings, 30).as_deref(), Some("new"));
        assert_eq!(mappings.next_name(0, 0x1000, 0x2000, 30), None);
        // A mapping may reappear.
        mappings.end(0, &mapping(0x1000, "/new"), 40);
        mappings.add(0, mapping(0x1000, "/old"), 50);
        mappings.end(0, &mapping(0x1000, "/old"), 60);
        assert_eq!(at(&mappings, 55).as_deref(), Some("old"));
        assert_eq!(at(&mappings, 60), None);
        assert_eq!(at(&mappings, 15).as_deref(), Some("old"));
        assert_eq!(mappings.of(0).len(), 3);
    }
}
