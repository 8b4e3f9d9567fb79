// SPDX-License-Identifier: GPL-2.0

//! Attachments of a module: each is ended once, and the module's text stays mapped until then.

use loom::thread;
use model::{
    explore,
    prelude::*,
    tether::{
        Owner,
        Thing, //
    }, //
};

/// A registration is dropped by another module while its owner is torn down: one of the two tasks
/// ends it, and the text stays mapped until then.
#[test]
fn drop_against_end() {
    explore(None, || {
        let owner = Owner::new();
        let thing = Thing::registration(owner);
        thing.attach().unwrap();
        let other = thread::spawn(move || thing.drop_it());
        let ended = owner.end();
        other.join().unwrap();
        assert_eq!(thing.ends(), 1);
        assert!(ended || owner.end_again());
    });
}

/// A registration is created while its owner is torn down: it is refused, or torn down.
#[test]
fn make_against_end() {
    explore(None, || {
        let owner = Owner::new();
        let thing = Thing::registration(owner);
        // The creating task runs in the module's text. Teardown waits for it.
        let entered = owner.enter().unwrap();
        let other = thread::spawn(move || {
            let made = thing.attach().is_ok();
            drop(entered);
            made
        });
        let ended = owner.end();
        let made = other.join().unwrap();
        assert!(ended || owner.end_again());
        assert_eq!(thing.ends(), made.into());
    });
}

/// If the creation of a registration fails, the registration is not torn down.
#[test]
fn failed_make_against_end() {
    explore(None, || {
        let owner = Owner::new();
        let thing = Thing::registration(owner);
        let entered = owner.enter().unwrap();
        let other = thread::spawn(move || {
            assert!(matches!(thing.fail_to_attach(), Err(EBUSY | ENODEV)));
            drop(entered);
        });
        let ended = owner.end();
        other.join().unwrap();
        assert!(ended || owner.end_again());
        assert_eq!(thing.ends(), 0);
    });
}

/// A thread is created while its owner is torn down. Teardown may already wait for an older thread,
/// which waits for the new one: the new thread is requested to stop in any case.
#[test]
fn ask_against_make() {
    explore(None, || {
        let owner = Owner::new();
        let child = Thing::thread(owner);
        let supervisor = Thing::supervisor(owner, child);
        supervisor.attach_and_request().unwrap();
        let entered = owner.enter().unwrap();
        let other = thread::spawn(move || {
            let made = child.attach_and_request().is_ok();
            drop(entered);
            // If the creation fails, the supervisor sees the error and does not wait for the child.
            if !made {
                child.ask();
            }
            made
        });
        let ended = owner.end();
        let made = other.join().unwrap();
        assert!(ended || owner.end_again());
        assert_eq!(child.ends(), made.into());
        assert_eq!(supervisor.ends(), 1);
    });
}

/// Every thread is requested to stop before teardown waits for the first one.
#[test]
fn ask_all_first() {
    explore(None, || {
        let owner = Owner::new();
        let child = Thing::thread(owner);
        let supervisor = Thing::supervisor(owner, child);
        supervisor.attach_and_request().unwrap();
        child.attach_and_request().unwrap();
        assert!(owner.end());
        assert_eq!((supervisor.ends(), child.ends()), (1, 1));
    });
}

/// Another task enters the module while it is torn down: the task is refused, or teardown waits.
#[test]
fn enter_against_end() {
    explore(None, || {
        let owner = Owner::new();
        let text = owner.text();
        let other = thread::spawn(move || {
            if let Ok(_entered) = owner.enter() {
                text.run();
            }
        });
        let ended = owner.end();
        other.join().unwrap();
        assert!(ended || owner.end_again());
        assert!(owner.enter().is_err());
    });
}

/// The payload of a leaked thread waits for a task that waits for the thread's end.
#[test]
fn payload_waits_for_waiter() {
    explore(None, || {
        let owner = Owner::new();
        let thing = Thing::thread(owner);
        thing.attach_and_request().unwrap();
        thing.set_payload(thread::spawn(move || thing.drop_unless_ended()));
        let ended = owner.end();
        match thing.take_payload() {
            // The waiting task has ended the object.
            Some(waiter) => waiter.join().unwrap(),
            None => assert_eq!(thing.released(), 1),
        }
        assert_eq!(thing.ends(), 1);
        assert!(ended || owner.end_again());
    });
}

/// A thread is detached while the init of its module fails: the thread is requested to stop in any
/// case. Teardown does not end a detached thread.
#[test]
fn independent_against_end() {
    explore(None, || {
        let owner = Owner::new();
        let thing = Thing::thread(owner);
        thing.attach_and_request().unwrap();
        assert!(owner.pin());
        // Detach the thread unless teardown has ended it. A detached thread ends by itself.
        let other = thread::spawn(move || {
            thing.detach_and_end();
            owner.unpin();
        });
        let ended = owner.end();
        other.join().unwrap();
        assert!(ended || owner.end_again());
        assert_eq!(thing.ends(), 1);
    });
}
