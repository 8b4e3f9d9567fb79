// SPDX-License-Identifier: GPL-2.0

//! The wait queue of `wake_up_var()`, which is found by the hash of an address: here there is one
//! for all.

use crate::{
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    task::Task, //
};
use loom::sync::{
    atomic::{
        fence,
        Ordering, //
    },
    Condvar,
    Mutex, //
};

#[derive(Default)]
struct Queue {
    /// The number of wake-ups. A waiter compares it, so that a wake-up between the test of the
    /// condition and the sleep is not lost.
    woken: Mutex<usize>,
    changed: Condvar,
}

loom::lazy_static! {
    static ref QUEUE: Queue = Queue::default();
}

/// `wake_up_var()`: `__wake_up_bit()` takes the lock of the queue if it has a waiter
/// (`waitqueue_active()`). The model takes the lock in any case, as the caller has tested
/// `waiters`.
pub fn wake_up_var() {
    *QUEUE.woken.lock().unwrap() += 1;
    QUEUE.changed.notify_all();
}

/// `tether_wait_word()` of `rust/helpers/task_work.c`, without signals and without a time-out.
pub fn wait_word(word: &Atomic<usize>, busy: usize, flags: usize) -> isize {
    let me = Task::current_raw() as usize;
    loop {
        // prepare_to_wait_event(): it is in the queue before the condition is looked at, and
        // set_current_state() is a full barrier.
        let woken = *QUEUE.woken.lock().unwrap();
        fence(Ordering::SeqCst);
        let now = word.load(Relaxed);
        if now & busy == 0 || now & !flags == me {
            return 1;
        }
        // schedule()
        let mut queue = QUEUE.woken.lock().unwrap();
        while *queue == woken {
            queue = QUEUE.changed.wait(queue).unwrap();
        }
    }
}
