// SPDX-License-Identifier: GPL-2.0

//! Controls when the body of a new thread may run.
//!
//! `kthread_create()` creates a thread that calls its function at the first wake-up, and any task
//! may wake it: [`Task::wake_up`](crate::task::Task::wake_up) is safe, and so is finding the task
//! by its pid. Hence a wake-up does not start a body. The thread waits in its function until its
//! creator has started it or `kthread_stop()` is called, and accesses nothing else before.
//!
//! ```text
//!          start()            the thread's wait()
//!   NEW -----------> STARTED ---------------------> BEGUN
//!    |
//!    +-------------> NEVER
//!          never()
//! ```
//!
//! If a thread is stopped while it is `STARTED`, it may end without having begun: `kthread_stop()`
//! may be called before the first wake-up.

use crate::{
    bindings,
    sync::atomic::{
        Atomic,
        Relaxed,
        Release, //
    }, //
};

/// Neither started nor cancelled before its start.
const NEW: u32 = 0;
/// The body is to be called.
const STARTED: u32 = 1;
/// The thread is about to call the body, or has done so.
const BEGUN: u32 = 2;
/// The body will not be called.
const NEVER: u32 = 3;

/// Tells whether the body of a thread may run.
///
/// # Invariants
///
/// Only the thread itself changes `state` from [`STARTED`] to [`BEGUN`]. If the state is [`NEVER`],
/// or if the thread is stopped before it has begun, the thread does not call its body.
pub(super) struct Start {
    state: Atomic<u32>,
}

impl Start {
    /// Returns the state of a thread that is not created yet.
    pub(super) fn new() -> Self {
        // INVARIANT: The thread is not created yet, so that it has not begun.
        Self {
            state: Atomic::new(NEW),
        }
    }

    /// Allows the thread to call its body. If this returns true, the caller must wake the thread;
    /// otherwise the thread was cancelled before its start.
    pub(super) fn start(&self) -> bool {
        // Pairs with the barrier in `wait()`: the body sees what the caller has written.
        self.state.cmpxchg(NEW, STARTED, Release).is_ok()
    }

    /// Cancels the thread before its start. Returns false if the thread was started.
    pub(super) fn never(&self) -> bool {
        // All changes are of this word, and nothing else is published.
        match self.state.cmpxchg(NEW, NEVER, Relaxed) {
            Ok(_) => true,
            Err(state) => state == NEVER,
        }
    }

    /// Returns whether the thread was cancelled before its start, which is final.
    pub(super) fn is_given_up(&self) -> bool {
        self.state.load(Relaxed) == NEVER
    }

    /// Whether the thread has begun.
    ///
    /// The result does not change any more after the thread has ended.
    pub(super) fn has_begun(&self) -> bool {
        self.state.load(Relaxed) == BEGUN
    }

    /// Waits until the thread is started or stopped.
    ///
    /// Returns whether the body is to be called.
    ///
    /// # Safety
    ///
    /// Must be called once, by the kernel thread that `self` belongs to. `self` must stay valid
    /// until `kthread_stop()` has returned for this thread, or until this has returned true.
    pub(super) unsafe fn wait(&self) -> bool {
        let begun = loop {
            // Set the task state before `state` is read: a wake-up that follows a change of `state`
            // finds this thread in `TASK_IDLE`.
            //
            // SAFETY: `set_current_state()` requires that the task does not block in this state by
            // accident. The state is set back below, before anything else that may sleep.
            unsafe { bindings::set_current_state(bindings::TASK_IDLE) };
            // `set_current_state()` below is a full barrier, so that the body sees what was written
            // before the start.
            if self.state.cmpxchg(STARTED, BEGUN, Relaxed).is_ok() {
                break true;
            }
            // SAFETY: `kthread_should_stop()` requires a kernel thread, which the current task is
            // by the function's contract.
            if unsafe { bindings::kthread_should_stop() } {
                break false;
            }
            // SAFETY: `schedule()` requires process context without locks. The current task is a
            // kernel thread that has taken no lock yet.
            unsafe { bindings::schedule() };
        };
        // SAFETY: The state of a running task may be set to `TASK_RUNNING` at any time.
        unsafe { bindings::set_current_state(bindings::TASK_RUNNING) };
        begun
    }
}
