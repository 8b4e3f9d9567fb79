// SPDX-License-Identifier: GPL-2.0

//! A range of an address space and its mirror: the device does not access a page that the process
//! has lost.

use loom::thread;
use model::{
    explore,
    mm::{
        Read,
        Space, //
    },
    task::Task, //
};

/// A thread with a task of its own.
fn task<R: 'static>(body: impl FnOnce() -> R + 'static) -> thread::JoinHandle<R> {
    thread::spawn(move || {
        Task::become_current(&loom::sync::Arc::new(Task::default()));
        body()
    })
}

/// The current thread becomes a task, in a space whose page is there.
fn space() -> &'static Space {
    Task::become_current(&loom::sync::Arc::new(Task::default()));
    Space::new()
}

/// The page is looked up while it is unmapped.
#[test]
fn read_against_unmap() {
    explore(Some(5), || {
        let space = space();
        let unmap = task(|| space.unmap());
        space.read();
        unmap.join().unwrap();
        assert!(!space.access());
    });
}

/// The page is looked up while it is unmapped and mapped again: if it is recorded, it is the new
/// one.
#[test]
fn read_against_remap() {
    explore(Some(4), || {
        let space = space();
        let remap = task(|| {
            space.unmap();
            space.map();
        });
        space.read();
        space.access();
        remap.join().unwrap();
        space.access();
        assert_eq!(space.read(), Read::Recorded);
    });
}

/// Two tasks unmap, at the same time.
#[test]
fn read_against_two_unmaps() {
    explore(Some(2), || {
        let space = space();
        let unmaps = [(); 2].map(|()| task(|| space.unmap()));
        space.read();
        for unmap in unmaps {
            unmap.join().unwrap();
        }
        assert!(!space.access());
    });
}

/// A task unmaps the page while it has the shadow locked, and the device of another one accesses
/// it.
#[test]
fn unmap_while_locked() {
    explore(Some(5), || {
        let space = space();
        assert_eq!(space.read(), Read::Recorded);
        let device = task(|| space.access());
        space.unmap_while_locked();
        device.join().unwrap();
        assert!(!space.access());
    });
}

/// The same while the page is looked up.
#[test]
fn unmap_while_locked_against_read() {
    explore(Some(4), || {
        let space = space();
        let reader = task(|| space.read());
        space.unmap_while_locked();
        reader.join().unwrap();
        assert!(!space.access());
    });
}

/// Invalidations in two passes at the same time: each second pass has the value of its first one.
#[test]
fn two_passes() {
    explore(Some(5), || {
        let space = space();
        let other = task(|| {
            space.invalidate_in_two_passes(1);
            space.invalidate_in_two_passes(2);
        });
        space.invalidate_in_two_passes(4);
        other.join().unwrap();
        assert_eq!(space.finished(), 7);
    });
}
