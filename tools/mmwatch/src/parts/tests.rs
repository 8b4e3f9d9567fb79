// SPDX-License-Identifier: GPL-2.0

//! Tests of parts, with a device that only keeps a list of its ranges.

use super::*;
use std::cell::RefCell;

/// The ranges that were added and not removed.
#[derive(Default)]
struct Listed {
    ranges: RefCell<Vec<Option<Range<u64>>>>,
    is_full: bool,
}

impl Listed {
    fn now(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<_> = self.ranges.borrow().iter().flatten().cloned().collect();
        ranges.sort_by_key(|range| range.start);
        ranges
    }
}

impl Ranges for Listed {
    fn add(&self, range: Range<u64>, _cookie: u64) -> io::Result<u32> {
        if self.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.ranges.borrow_mut().push(Some(range));
        Ok(self.ranges.borrow().len() as u32 - 1)
    }

    fn remove(&self, index: u32) -> io::Result<()> {
        match self.ranges.borrow_mut()[index as usize].take() {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

fn mapping(range: Range<u64>, name: &str) -> Mapping {
    Mapping {
        start: range.start,
        end: range.end,
        name: name.into(),
        offset: 0,
        inode: 0,
        executable: false,
    }
}

fn heap() -> Parts {
    Parts {
        ranges: Vec::new(),
        mappings: vec!["heap".into()],
    }
}

fn event(cookie: u64, count: u64, range: Range<u64>) -> Event {
    Event {
        time: 0,
        start: range.start,
        end: range.end,
        count,
        kind: 1,
        blockable: true,
        executed: false,
        pid: 7,
        tgid: 7,
        syscall: 28,
        cpu: 0,
        latency: 0,
        cookie,
        stack: Vec::new(),
    }
}

#[test]
fn ranges_that_overlap_are_one() {
    let parts = Parts {
        ranges: vec![
            0x3000..0x5000,
            0x1000..0x2000,
            0x4000..0x6000,
            0x6000..0x7000,
        ],
        mappings: vec!["heap".into()],
    };
    let device = Listed::default();
    let mut pieces = Pieces::default();
    let mappings = [
        mapping(0x1800..0x2800, "[heap]"),
        mapping(0x8000..0x9000, "/x"),
    ];
    assert!(pieces.update(&device, &parts, &mappings).is_empty());
    assert_eq!(device.now(), [0x1000..0x2800, 0x3000..0x7000]);
    // Nothing has changed.
    assert!(pieces.update(&device, &parts, &mappings).is_empty());
    assert_eq!(device.ranges.borrow().len(), 2);
}

#[test]
fn a_mapping_that_grows_is_one_range() {
    let device = Listed::default();
    let mut pieces = Pieces::default();
    for end in [0x2000, 0x3000, 0x9000] {
        let mappings = [mapping(0x1000..end, "[heap]")];
        assert!(pieces.update(&device, &heap(), &mappings).is_empty());
        assert_eq!(device.now(), vec![0x1000..end]);
    }
    // It shrinks: the range that is watched still contains it.
    pieces.update(&device, &heap(), &[mapping(0x1000..0x2000, "[heap]")]);
    assert_eq!(device.now(), vec![0x1000..0x9000]);
    pieces.update(&device, &heap(), &[mapping(0x1000..0x2000, "/other")]);
    assert_eq!(device.now(), []);
}

#[test]
fn a_failure_is_reported_once() {
    let device = Listed {
        is_full: true,
        ..Listed::default()
    };
    let mut pieces = Pieces::default();
    let mappings = [mapping(0x1000..0x2000, "[heap]")];
    assert_eq!(pieces.update(&device, &heap(), &mappings).len(), 1);
    assert_eq!(pieces.update(&device, &heap(), &mappings).len(), 0);
}

#[test]
fn an_invalidation_that_two_ranges_record_is_one() {
    let device = Listed::default();
    let mut pieces = Pieces::default();
    pieces.update(&device, &heap(), &[mapping(0x1000..0x2000, "[heap]")]);
    assert!(!pieces.is_repeated(&event(1, 1, 0x1000..0x2000)));
    pieces.update(&device, &heap(), &[mapping(0x1000..0x3000, "[heap]")]);
    // Recorded before the new range was added.
    assert!(!pieces.is_repeated(&event(1, 2, 0x1000..0x2000)));
    assert!(!pieces.is_repeated(&event(1, 3, 0x1000..0x2000)));
    // The last one was recorded by the new range as well.
    assert!(pieces.is_repeated(&event(2, 4, 0x1000..0x3000)));
    assert!(pieces.is_repeated(&event(1, 5, 0x1000..0x2000)));
    assert!(!pieces.is_repeated(&event(2, 6, 0x1000..0x3000)));
    assert!(!pieces.is_repeated(&event(2, 7, 0x1000..0x3000)));
}
