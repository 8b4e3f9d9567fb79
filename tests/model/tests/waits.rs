// SPDX-License-Identifier: GPL-2.0

//! The graph of waits: the wait that would close a circle of waiting threads is refused, and no
//! other wait.

use loom::thread;
use model::{
    explore,
    kthread::graph::{
        self,
        Node, //
    },
    prelude::*, //
};

/// Each of `N` threads waits for the next one, and the last one for the first. Returns the number
/// of refused waits.
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

/// Two threads wait for each other. If a thread ends before the other waits, no wait is refused.
#[test]
fn two_in_a_circle() {
    explore(None, || assert!(circle::<2>() <= 1));
}

/// Three threads wait for each other.
#[test]
fn three_in_a_circle() {
    explore(Some(2), || assert!(circle::<3>() <= 1));
}

/// A thread cannot wait for itself.
#[test]
fn itself() {
    explore(None, || {
        graph::init();
        let node = Node::new();
        let own = thread::spawn(move || node.run(|| node.join()));
        assert_eq!(own.join().unwrap(), Err(EDEADLK));
    });
}

/// A finished wait leaves the graph: after a task has flushed the queue of a worker, the worker may
/// wait for that task.
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

/// Two threads wait for a third one: no wait is refused.
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

/// A thread waits for the end of a second one and runs a destructor that waits for a third thread,
/// which waits for the first. The previous wait of the first thread is restored afterwards.
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
