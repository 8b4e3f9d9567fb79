// SPDX-License-Identifier: GPL-2.0

//! When the body of a new thread may run.
//!
//! `kthread_create()` leaves a thread that calls its function at the first wake-up, and any task
//! may wake it: [`Task::wake_up`](crate::task::Task::wake_up) is safe, and so is finding the task
//! by its pid. So a wake-up does not start a body. The thread waits in its function until it was
//! started by its creator or is stopped by `kthread_stop()`, and touches nothing else before.
//!
//! ```text
//!          start()            the thread's wait()
//!   NEW -----------> STARTED ---------------------> BEGUN
//!    |
//!    +-------------> NEVER
//!          never()
//! ```
//!
//! A thread that is stopped while it is `STARTED` may end without having begun: `kthread_stop()` is
//! allowed to come before the first wake-up.

use crate::{
    bindings,
    sync::atomic::{
        Acquire,
        Atomic,
        Full, //
    }, //
};

/// Neither started nor given up.
const NEW: u32 = 0;
/// The body is to be called.
const STARTED: u32 = 1;
/// The thread is about to call the body, or has done so.
const BEGUN: u32 = 2;
/// The body will not be called.
const NEVER: u32 = 3;

/// Whether the body of a thread may run.
///
/// # Invariants
///
/// Only the thread itself makes `state` [`BEGUN`], from [`STARTED`]. A thread whose state is
/// [`NEVER`] or that was stopped before it has begun does not call its body.
pub(super) struct Start {
    state: Atomic<u32>,
}

impl Start {
    /// The state of a thread that is not created yet.
    pub(super) fn new() -> Self {
        Self {
            state: Atomic::new(NEW),
        }
    }

    /// Allows the thread to call its body. The caller has to wake the thread if this returns true;
    /// otherwise the thread was given up.
    pub(super) fn start(&self) -> bool {
        self.state.cmpxchg(NEW, STARTED, Full).is_ok()
    }

    /// Gives the thread up, unless it was started. Returns whether it will never begin.
    pub(super) fn never(&self) -> bool {
        match self.state.cmpxchg(NEW, NEVER, Full) {
            Ok(_) => true,
            Err(state) => state == NEVER,
        }
    }

    /// Returns whether the thread was given up, which is final.
    pub(super) fn is_given_up(&self) -> bool {
        self.state.load(Acquire) == NEVER
    }

    /// Whether the thread has begun.
    ///
    /// The answer is final once the thread has ended.
    pub(super) fn has_begun(&self) -> bool {
        self.state.load(Acquire) == BEGUN
    }

    /// Waits until the thread is to call its body, which is the caller's then, or is stopped.
    ///
    /// Returns whether the body is to be called.
    ///
    /// # Safety
    ///
    /// Must be called once, by the kernel thread that `self` belongs to. `self` must stay valid
    /// until `kthread_stop()` has returned for this thread, or until this has returned true.
    pub(super) unsafe fn wait(&self) -> bool {
        let begun = loop {
            // Before the state is read: a wake-up that follows a change of the state finds this
            // thread in `TASK_IDLE`.
            //
            // SAFETY: The state is set back below, before anything else that may sleep.
            unsafe { bindings::set_current_state(bindings::TASK_IDLE) };
            if self.state.cmpxchg(STARTED, BEGUN, Acquire).is_ok() {
                break true;
            }
            // SAFETY: By the function's contract this is a kernel thread.
            if unsafe { bindings::kthread_should_stop() } {
                break false;
            }
            // SAFETY: This is a kernel thread that holds no lock.
            unsafe { bindings::schedule() };
        };
        // SAFETY: The state of a running task may be set to `TASK_RUNNING` at any time.
        unsafe { bindings::set_current_state(bindings::TASK_RUNNING) };
        begun
    }
}
