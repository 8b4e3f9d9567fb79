// SPDX-License-Identifier: GPL-2.0

//! A range of an address space and its mirror: the device does not access a page that was unmapped
//! from the process.

use loom::thread;
use model::{
    explore,
    mm::{
        Read,
        Space, //
    },
    task::Task, //
};

/// Spawns a thread with its own task.
fn task<R: 'static>(body: impl FnOnce() -> R + 'static) -> thread::JoinHandle<R> {
    thread::spawn(move || {
        Task::become_current(&loom::sync::Arc::new(Task::default()));
        body()
    })
}

/// Makes the current thread a task, and creates an address space with a mapped page.
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

/// The page is looked up while it is unmapped and mapped again: a recorded page is the new page.
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

/// Two tasks unmap the page at the same time.
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

/// A task unmaps the page while it holds the lock of the shadow, and the device of another task
/// accesses the page.
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

/// A task unmaps the page while it holds the lock of the shadow, and another task looks it up.
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

/// Two-pass invalidations overlap: each second pass gets the value of its own first pass.
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
