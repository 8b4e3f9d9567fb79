// SPDX-License-Identifier: GPL-2.0

//! Pins of a module: its text stays mapped while a pin exists, and its references are balanced.

use loom::thread;
use model::{
    explore,
    tether::Owner, //
};

/// Pins the module, runs its text, and drops the pin, as a task work does. Returns whether the pin
/// was granted.
fn pin_and_run(owner: &'static Owner) -> bool {
    if !owner.pin() {
        return false;
    }
    // A pin without a reference would let the module be removed; its teardown would wait.
    assert!(!owner.is_going(), "pinned without a reference");
    owner.text().run();
    owner.unpin();
    true
}

/// Two tasks pin a module.
#[test]
fn pin_against_pin() {
    explore(None, || {
        let owner = Owner::new();
        let other = thread::spawn(move || pin_and_run(owner));
        assert!(pin_and_run(owner));
        assert!(other.join().unwrap());
        assert_eq!(owner.references(), 0);
        assert!(owner.remove());
    });
}

/// Two tasks pin a module. A task pins twice, so that the first pin of the other task can race with
/// the last pin of this one.
#[test]
fn pin_twice_against_pin() {
    explore(Some(3), || {
        let owner = Owner::new();
        let other = thread::spawn(move || pin_and_run(owner));
        assert!(pin_and_run(owner));
        assert!(pin_and_run(owner));
        assert!(other.join().unwrap());
        assert_eq!(owner.references(), 0);
        assert!(owner.remove());
    });
}

/// A module is removed while a task pins it: either the removal or the pin is refused.
#[test]
fn pin_against_removal() {
    explore(None, || {
        let owner = Owner::new();
        let other = thread::spawn(move || pin_and_run(owner));
        let removed = owner.remove();
        assert!(other.join().unwrap() || removed || owner.end_again());
        assert_eq!(owner.references(), 0);
    });
}

/// A module is removed while two tasks pin it.
#[test]
fn two_pins_against_removal() {
    explore(Some(3), || {
        let owner = Owner::new();
        let others = [(); 2].map(|()| thread::spawn(move || pin_and_run(owner)));
        owner.remove();
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(owner.references(), 0);
    });
}

/// The init of a module fails while a task pins it: teardown waits for the pin.
#[test]
fn pin_against_failed_init() {
    explore(None, || {
        let owner = Owner::new();
        let other = thread::spawn(move || pin_and_run(owner));
        let ended = owner.end();
        other.join().unwrap();
        // The next pass of teardown finds no pin.
        assert!(ended || owner.end_again());
        assert!(!owner.pin());
    });
}

/// The init of a module fails, and the callback of a pin is disarmed while another callback runs.
#[test]
fn disarmed_against_running() {
    explore(None, || {
        let owner = Owner::new();
        assert!(owner.pin());
        let other = thread::spawn(move || pin_and_run(owner));
        let ended = owner.end();
        assert!(!ended, "the first pin is there");
        owner.unpin_disarmed();
        let ended = owner.end_again();
        other.join().unwrap();
        assert!(ended || owner.end_again());
    });
}
