// SPDX-License-Identifier: GPL-2.0

//! The wait queue of `wake_up_var()`. The kernel selects a queue by the hash of an address; the
//! model has a single queue.

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
    /// The number of wake-ups. A waiter compares this number, so that a wake-up between the test of
    /// the condition and the sleep is not lost.
    woken: Mutex<usize>,
    changed: Condvar,
}

loom::lazy_static! {
    static ref QUEUE: Queue = Queue::default();
}

/// `wake_up_var()`: `__wake_up_bit()` acquires the lock of the queue if the queue has a waiter
/// (`waitqueue_active()`). The model always acquires the lock, because the caller has tested
/// `waiters`.
pub fn wake_up_var() {
    *QUEUE.woken.lock().unwrap() += 1;
    QUEUE.changed.notify_all();
}

/// `tether_wait_word()` of `rust/helpers/task_work.c`, without signals and time-outs.
pub fn wait_word(word: &Atomic<usize>, busy: usize, flags: usize) -> isize {
    let me = Task::current_raw() as usize;
    loop {
        // prepare_to_wait_event(): the waiter is queued before the condition is tested, and
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
