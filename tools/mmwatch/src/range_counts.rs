// SPDX-License-Identifier: GPL-2.0

//! Counts the events of each range of addresses, separately for each mapping that was there.

use crate::mappings::Mappings;
use crate::report::Count;
use rustc_hash::FxHashMap;
use std::collections::HashMap;

/// An address space, and the start and end of a range.
pub type Range = (usize, u64, u64);

/// The events of a range while it belonged to one mapping.
struct Named {
    /// Index in [`RangeCounts::names`]; `None` if no mapping was known at that time.
    name: Option<u32>,
    /// Time of the first event.
    first: u64,
    count: Count,
}

#[derive(Default)]
struct Entry {
    /// The mappings were at this number of changes when `current` was determined.
    changes: u32,
    /// Index of the current mapping in `counts`.
    current: usize,
    counts: Vec<Named>,
}

#[derive(Default)]
pub struct RangeCounts {
    entries: FxHashMap<Range, Entry>,
    names: Vec<String>,
    numbers: HashMap<String, u32>,
}

/// The events of a range, with the name of its mapping.
pub struct NamedCount<'a> {
    pub range: Range,
    pub name: Option<&'a str>,
    pub count: Count,
}

impl RangeCounts {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.into());
        self.numbers.insert(name.into(), number);
        number
    }

    /// Adds events at the given time.
    pub fn add(&mut self, range: Range, time: u64, count: &Count, mappings: &Mappings) {
        let (space, start, end) = range;
        let changes = mappings.changes();
        if let Some(entry) = self.entries.get_mut(&range) {
            // The name can have changed only if the mappings have.
            if entry.changes == changes {
                entry.counts[entry.current].count.add(count);
                return;
            }
        }
        let name = mappings.name(space, start, end, time);
        let name = name.map(|name| self.number(name));
        let entry = self.entries.entry(range).or_default();
        let known = entry.counts.iter().position(|it| it.name == name);
        entry.current = known.unwrap_or_else(|| {
            entry.counts.push(Named {
                name,
                first: time,
                count: Count::default(),
            });
            entry.counts.len() - 1
        });
        entry.changes = changes;
        entry.counts[entry.current].count.add(count);
    }

    /// Returns the counts with the names of the mappings. Events that preceded the look at a new
    /// mapping are attributed to it.
    pub fn named<'a>(&'a self, mappings: &'a Mappings) -> Vec<NamedCount<'a>> {
        let mut result: Vec<NamedCount<'a>> = Vec::new();
        for (range, entry) in &self.entries {
            let (space, start, end) = *range;
            let first = result.len();
            for it in &entry.counts {
                let name = match it.name {
                    Some(number) => self.names.get(number as usize).map(String::as_str),
                    None => mappings.next_name(space, start, end, it.first),
                };
                match result[first..].iter_mut().find(|it| it.name == name) {
                    Some(same) => same.count.add(&it.count),
                    None => result.push(NamedCount {
                        range: *range,
                        name,
                        count: it.count,
                    }),
                }
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Mapping;

    fn mapping(name: &str) -> Mapping {
        Mapping {
            start: 0x1000,
            end: 0x2000,
            name: name.into(),
            offset: 0,
            inode: 0,
            executable: false,
        }
    }

    #[test]
    fn each_mapping_has_its_events() {
        let one = Count {
            events: 1,
            pages: 1,
            ..Count::default()
        };
        let range = (0, 0x1000, 0x2000);
        let mut mappings = Mappings::default();
        let mut counts = RangeCounts::default();
        // Before the mapping is known.
        counts.add(range, 5, &one, &mappings);
        mappings.add(0, mapping("/lib/old.so"), 10);
        counts.add(range, 11, &one, &mappings);
        counts.add(range, 12, &one, &mappings);
        mappings.end(0, &mapping("/lib/old.so"), 20);
        mappings.add(0, mapping("/tmp/new"), 20);
        counts.add(range, 21, &one, &mappings);
        // This event is older than the change.
        mappings.add(0, mapping("[heap]"), 30);
        counts.add(range, 15, &one, &mappings);
        let mut named: Vec<_> = counts
            .named(&mappings)
            .into_iter()
            .map(|it| (it.name.unwrap_or_default().to_string(), it.count.events))
            .collect();
        named.sort();
        assert_eq!(named, [("new".to_string(), 1), ("old.so".to_string(), 4)]);
    }
}
