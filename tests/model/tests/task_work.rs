// SPDX-License-Identifier: GPL-2.0

//! The node of a task work: each add of an item leads to a call or a cancellation, and each wait
//! returns.

use loom::thread;
use model::{
    explore,
    prelude::*,
    sync::atomic::Relaxed,
    task_work::{
        Item,
        Target, //
    }, //
};
use std::sync::Arc;

fn in_thread<R: 'static>(f: impl FnOnce() -> R + 'static) -> thread::JoinHandle<R> {
    thread::spawn(f)
}

/// Creates an item that is pending on a target.
fn pending() -> (Arc<Item>, Arc<Target>) {
    let (item, target) = (Item::new(), Arc::new(Target::new()));
    assert_eq!(item.add(&target), Ok(()));
    (item, target)
}

/// Spawns a task that waits for the item.
fn waiter(item: &Arc<Item>) -> thread::JoinHandle<Result> {
    let item = item.clone();
    in_thread(move || {
        Target::new().enter();
        item.wait()
    })
}

/// Two tasks add the item to a running target: at most one add is refused, and each add that
/// succeeds leads to a call.
#[test]
fn add_against_add() {
    explore(Some(3), || {
        let (item, target) = (Item::new(), Arc::new(Target::new()));
        let other = {
            let (item, target) = (item.clone(), target.clone());
            in_thread(move || item.add(&target))
        };
        let runs = {
            let target = target.clone();
            in_thread(move || target.run())
        };
        let mine = item.add(&target);
        let other = other.join().unwrap();
        runs.join().unwrap();
        target.run();
        let added = [mine, other].iter().filter(|added| added.is_ok()).count();
        assert!(added >= 1);
        assert_eq!(item.runs(), added as isize);
        item.assert_balance();
    });
}

/// A kick is not lost: if an add succeeds, or is refused because the item is pending, a later call
/// sees the request that was stored before the add.
#[test]
fn kick() {
    explore(Some(5), || {
        let (item, target) = pending();
        let runs = {
            let target = target.clone();
            in_thread(move || target.run())
        };
        item.asked.store(true, Relaxed);
        let added = item.add(&target);
        runs.join().unwrap();
        target.run();
        assert!(item.seen() > 0, "the kick was lost: {added:?}");
        item.assert_balance();
    });
}

/// A task cancels the item on one target while the item is added to another target: the new add is
/// not cancelled.
#[test]
fn cancel_against_another_target() {
    explore(Some(5), || {
        let item = Item::new();
        let (one, two) = (Arc::new(Target::new()), Arc::new(Target::new()));
        assert_eq!(item.add(&one), Ok(()));
        let cancels = {
            let (item, one) = (item.clone(), one.clone());
            in_thread(move || item.cancel(&one))
        };
        one.run();
        let first = item.runs();
        let added = item.add(&two);
        let cancelled = cancels.join().unwrap() == Some(true);
        two.run();
        assert_eq!(cancelled, first == 0);
        assert_eq!(item.runs(), first + isize::from(added.is_ok()));
        item.assert_balance();
    });
}

/// The item is added to a second target while the first one runs it: the two calls do not overlap.
#[test]
fn one_callback_at_a_time() {
    explore(Some(5), || {
        let item = Item::new();
        let (one, two) = (Arc::new(Target::new()), Arc::new(Target::new()));
        assert_eq!(item.add(&one), Ok(()));
        let runs = {
            let one = one.clone();
            in_thread(move || one.run())
        };
        let added = item.add(&two).is_ok();
        two.run();
        runs.join().unwrap();
        assert_eq!(item.runs(), 1 + isize::from(added));
        item.assert_balance();
    });
}

/// A task cancels the item in a kernel tree, where the node is unlinked, while the target passes
/// the node and the item is added again: the new add is not unlinked.
#[test]
fn cancel_in_tree_against_a_newer_add() {
    explore(Some(3), || {
        let (item, target) = pending();
        let cancels = {
            let (item, target) = (item.clone(), target.clone());
            in_thread(move || item.cancel_in_tree(&target))
        };
        let adds = {
            let (item, target) = (item.clone(), target.clone());
            in_thread(move || item.add(&target))
        };
        target.run();
        let cancelled = cancels.join().unwrap() == Some(true);
        let added = adds.join().unwrap().is_ok();
        target.run();
        assert_eq!(item.runs(), 1 + isize::from(added) - isize::from(cancelled));
        item.assert_balance();
    });
}

/// Two tasks cancel the item: at most one of them succeeds.
#[test]
fn cancel_against_cancel() {
    explore(Some(5), || {
        let (item, target) = pending();
        let cancels = {
            let (item, target) = (item.clone(), target.clone());
            in_thread(move || item.cancel_in_tree(&target))
        };
        let mine = item.cancel(&target) == Some(true);
        let other = cancels.join().unwrap() == Some(true);
        target.run();
        assert!(mine ^ other);
        assert_eq!(item.runs(), 0);
        item.assert_balance();
    });
}

/// The teardown of the owner disarms the item while it is cancelled and its target runs.
#[test]
fn disarm_against_cancel() {
    explore(Some(3), || {
        let (item, target) = pending();
        let cancels = {
            let (item, target) = (item.clone(), target.clone());
            in_thread(move || item.cancel_in_tree(&target))
        };
        let runs = {
            let target = target.clone();
            in_thread(move || target.run())
        };
        target.disarm();
        cancels.join().unwrap();
        runs.join().unwrap();
        assert!(item.runs() <= 1);
        item.assert_balance();
    });
}

/// The target exits while the item is added and cancelled: the item runs, or the add is refused, or
/// the item is cancelled.
#[test]
fn add_against_exit() {
    explore(Some(3), || {
        let (item, target) = (Item::new(), Arc::new(Target::new()));
        let exits = {
            let target = target.clone();
            in_thread(move || target.exit())
        };
        let cancels = {
            let (item, target) = (item.clone(), target.clone());
            in_thread(move || item.cancel(&target))
        };
        let added = item.add(&target);
        let cancelled = cancels.join().unwrap() == Some(true);
        exits.join().unwrap();
        assert!(item.runs() <= isize::from(added.is_ok()));
        assert!(item.runs() == 1 || added.is_err() || cancelled);
        item.assert_balance();
    });
}

/// A task waits for the item, which runs: a lost wake-up is a deadlock. The task sees what the
/// callback has written.
#[test]
fn wait_against_run() {
    explore(Some(5), || {
        let (item, target) = pending();
        let waits = {
            let item = item.clone();
            in_thread(move || {
                Target::new().enter();
                assert_eq!(item.wait(), Ok(()));
                item.read_result();
            })
        };
        target.run();
        waits.join().unwrap();
        item.assert_balance();
    });
}

/// A task waits for the item, which is cancelled; the target passes the node later.
#[test]
fn wait_against_cancel() {
    explore(Some(5), || {
        let (item, target) = pending();
        let waits = waiter(&item);
        assert_eq!(item.cancel(&target), Some(true));
        assert_eq!(waits.join().unwrap(), Ok(()));
        target.run();
        item.assert_balance();
    });
}

/// A task waits for the item, which is cancelled or disarmed.
#[test]
fn wait_against_cancel_and_disarm() {
    explore(Some(3), || {
        let (item, target) = pending();
        let waits = waiter(&item);
        let disarms = {
            let target = target.clone();
            in_thread(move || target.disarm())
        };
        item.cancel_in_tree(&target);
        disarms.join().unwrap();
        assert_eq!(waits.join().unwrap(), Ok(()));
    });
}

/// A task waits for the item, which is then added to this task: the task does not wait for itself.
#[test]
fn wait_against_retarget() {
    explore(Some(5), || {
        let item = Item::new();
        let (one, two) = (Arc::new(Target::new()), Arc::new(Target::new()));
        assert_eq!(item.add(&one), Ok(()));
        let waits = {
            let (item, two) = (item.clone(), two.clone());
            in_thread(move || {
                two.enter();
                item.wait()
            })
        };
        one.run();
        assert_eq!(item.add(&two), Ok(()));
        assert!(matches!(waits.join().unwrap(), Ok(()) | Err(EDEADLK)));
        two.run();
        item.assert_balance();
    });
}
