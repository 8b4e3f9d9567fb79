// SPDX-License-Identifier: GPL-2.0

//! Who waits for whom: of threads that wait for each other, one is refused, and only one.

use loom::thread;
use model::{
    explore,
    kthread::graph::{
        self,
        Node, //
    },
    prelude::*, //
};

/// Each of `count` threads waits for the next one, and the last one for the first. Returns how many
/// were refused.
fn circle<const N: usize>() -> usize {
    graph::init();
    let nodes = [(); N].map(|()| Node::new());
    let mut index = 0;
    let threads = nodes.map(|node| {
        index += 1;
        let next = nodes[index % N];
        thread::spawn(move || node.run(|| next.join()))
    });
    let mut refused = 0;
    for thread in threads {
        match thread.join().unwrap() {
            Ok(()) => (),
            Err(error) => {
                assert_eq!(error, EDEADLK);
                refused += 1;
            }
        }
    }
    refused
}

/// Two threads wait for each other. If one has ended before, none is refused.
#[test]
fn two_in_a_circle() {
    explore(None, || assert!(circle::<2>() <= 1));
}

/// Three threads wait for each other.
#[test]
fn three_in_a_circle() {
    explore(Some(2), || assert!(circle::<3>() <= 1));
}

/// A thread does not wait for itself.
#[test]
fn itself() {
    explore(None, || {
        graph::init();
        let node = Node::new();
        let own = thread::spawn(move || node.run(|| node.join()));
        assert_eq!(own.join().unwrap(), Err(EDEADLK));
    });
}

/// A wait that is over is none: a worker whose queue was flushed may wait for the task that has
/// flushed it.
#[test]
fn wait_is_over() {
    explore(None, || {
        graph::init();
        let (task, worker) = (Node::new(), Node::new());
        worker.run(|| ());
        assert_eq!(task.run(|| worker.join()), Ok(()));
        assert_eq!(worker.run(|| task.join()), Ok(()));
    });
}

/// Two threads wait for a third one: none is refused.
#[test]
fn no_circle() {
    explore(None, || {
        graph::init();
        let node = Node::new();
        let waiters = [(); 2].map(|()| {
            let waiter = Node::new();
            thread::spawn(move || waiter.run(|| node.join()))
        });
        node.run(|| ());
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Ok(()));
        }
    });
}

/// A destructor that runs while a thread waits for the end of another one waits for a third one,
/// which waits for the first. What the first one has waited for before is known again afterwards.
#[test]
fn destructor_in_a_circle() {
    explore(Some(3), || {
        graph::init();
        let (first, second, third) = (Node::new(), Node::new(), Node::new());
        second.run(|| ());
        let waiter = thread::spawn(move || third.run(|| first.join()));
        let mut nested = Ok(());
        let outer = first.run(|| second.join_and(|| nested = third.join()));
        assert_eq!(outer, Ok(()));
        let other = waiter.join().unwrap();
        assert!(nested.is_ok() || other.is_ok());
        assert!(matches!(nested, Ok(()) | Err(EDEADLK)));
        assert!(matches!(other, Ok(()) | Err(EDEADLK)));
    });
}
