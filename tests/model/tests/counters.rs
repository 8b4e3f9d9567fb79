// SPDX-License-Identifier: GPL-2.0

//! The counter of a range: as long as it is unchanged, the program has read the page that was
//! mapped when the range was added.

use loom::thread;
use model::{
    counters::Process,
    explore, //
};

/// The page is replaced after the range was added.
#[test]
fn read_against_replace() {
    explore(None, || {
        let process = Process::new();
        let range = process.add();
        let added = process.mapped();
        let other = thread::spawn(|| process.replace(0));
        let read = process.load();
        assert!(process.changed(range) || read == added);
        other.join().unwrap();
        assert!(process.changed(range));
    });
}

/// The page is replaced while the range is added.
#[test]
fn add_against_replace() {
    explore(None, || {
        let process = Process::new();
        let other = thread::spawn(|| process.replace(0));
        let range = process.add();
        let read = process.load();
        let unchanged = !process.changed(range);
        other.join().unwrap();
        // The page that was read from an unchanged range is still mapped, unless the change
        // came after the check.
        assert!(process.changed(range) || (unchanged && read == process.mapped()));
    });
}

/// The page is replaced twice, by two threads.
#[test]
fn two_replacements() {
    explore(Some(3), || {
        let process = Process::new();
        let others = [0, 1].map(|spare| thread::spawn(move || process.replace(spare)));
        let range = process.add();
        let (first, second) = (process.load(), process.load());
        assert!(process.changed(range) || first == second);
        for other in others {
            other.join().unwrap();
        }
        assert!(process.changed(range) || second == process.mapped());
    });
}
