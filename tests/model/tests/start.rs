// SPDX-License-Identifier: GPL-2.0

//! The first wake-up: the body of a thread is called at most once, and only if the thread was
//! started.

use loom::{
    sync::Arc,
    thread, //
};
use model::{
    explore,
    kthread::Core, //
};
use std::sync::atomic::{
    AtomicU32,
    Ordering::Relaxed, //
};

/// Creates a thread, and a counter of the calls of its body.
fn new_thread() -> (Arc<Core>, Arc<AtomicU32>, thread::JoinHandle<()>) {
    let (core, calls) = (Arc::new(Core::new()), Arc::new(AtomicU32::new(0)));
    let handle = {
        let (core, calls) = (core.clone(), calls.clone());
        thread::spawn(move || {
            core.main(|| {
                core.read_given();
                calls.fetch_add(1, Relaxed);
            })
        })
    };
    (core, calls, handle)
}

/// Another task wakes the thread while its creator starts it.
#[test]
fn foreign_wake_up_against_start() {
    explore(Some(3), || {
        let (core, calls, handle) = new_thread();
        let foreign = {
            let core = core.clone();
            thread::spawn(move || core.task().wake_up())
        };
        core.give();
        core.start();
        foreign.join().unwrap();
        handle.join().unwrap();
        assert_eq!(calls.load(Relaxed), 1);
    });
}

/// Another task wakes the thread while its creator gives it up.
#[test]
fn foreign_wake_up_against_never() {
    explore(Some(3), || {
        let (core, calls, handle) = new_thread();
        let foreign = {
            let core = core.clone();
            thread::spawn(move || core.task().wake_up())
        };
        assert!(core.never());
        assert!(!core.stop());
        foreign.join().unwrap();
        handle.join().unwrap();
        assert_eq!(calls.load(Relaxed), 0);
    });
}

/// A task starts the thread while the teardown of its module gives it up.
#[test]
fn start_against_never() {
    explore(Some(3), || {
        let (core, calls, handle) = new_thread();
        let starter = {
            let core = core.clone();
            thread::spawn(move || {
                core.give();
                core.start()
            })
        };
        if core.never() {
            assert!(!core.stop());
            assert_eq!(calls.load(Relaxed), 0);
        }
        starter.join().unwrap();
        handle.join().unwrap();
    });
}

/// A task starts the thread while another task stops it.
#[test]
fn start_against_stop() {
    explore(Some(3), || {
        let (core, calls, handle) = new_thread();
        let starter = {
            let core = core.clone();
            thread::spawn(move || {
                core.give();
                core.start()
            })
        };
        let begun = core.stop();
        assert_eq!(calls.load(Relaxed), u32::from(begun));
        starter.join().unwrap();
        handle.join().unwrap();
    });
}

/// The body reads what was written before the thread was started.
#[test]
fn memory_of_the_start() {
    explore(None, || {
        let (core, calls, handle) = new_thread();
        core.give();
        core.start();
        handle.join().unwrap();
        assert_eq!(calls.load(Relaxed), 1);
    });
}
