// SPDX-License-Identifier: GPL-2.0

//! Parking: each request is answered, and the task that waits for the answer can be killed.
//!
//! `kthread_park()` cannot be interrupted. It does not return if the thread does not call
//! `kthread_parkme()`, if it exits, or if it is unparked meanwhile; and it must not be called
//! twice. Hence the request is made in [`Parking::state`] first. A thread that accepts the request
//! waits at the *gate*, which is a loop in [`Parking::pass`]. Only then `kthread_park()` is called,
//! and returns at once. The thread leaves the gate after the state has been set to `RUNNING` again.
//!
//! ```text
//!            park()            the thread           park()
//!   RUNNING -------> ASKED ------------------> GATE ----------------> PARKED
//!    ^  ^             |  |                      |   kthread_park()     |
//!    |  +- times out -+  | unpark()             | unpark()             | unpark()
//!    |                   v                      v                      v
//!    |             ASKED_UNPARK               LEAVE                UNPARKING
//!    |                   | the thread           | park()               |
//!    |                   v                      |   kthread_unpark()   | kthread_unpark()
//!    +----- park() --- PASSED                   +------> RUNNING <-----+
//! ```
//!
//! When the body of a thread returns, the state changes to `OVER` from any state in which the
//! thread runs.

use super::{
    completion::{
        Completion,
        Limit, //
    },
    Context,
    Core, //
};
use crate::{
    bindings,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed, //
    },
    tether::may_sleep,
    types::NotThreadSafe, //
};
use core::convert::Infallible;

/// No request.
const RUNNING: u32 = 0;
/// A task waits in `park()` for the thread to reach the gate.
const ASKED: u32 = 1;
/// Like [`ASKED`], and the thread shall continue at once.
const ASKED_UNPARK: u32 = 2;
/// The thread is at the gate, and the task that has made the request is about to call
/// `kthread_park()`.
const GATE: u32 = 3;
/// Like [`GATE`], and the task that has made the request shall unpark the thread again.
const LEAVE: u32 = 4;
/// The thread is parked.
const PARKED: u32 = 5;
/// A task is in `kthread_unpark()`.
const UNPARKING: u32 = 6;
/// The request was answered without parking: by the thread, or by a task that requests the thread
/// to stop. The task that has made the request has not read the answer yet.
const PASSED: u32 = 7;
/// The body has returned.
const OVER: u32 = 8;

/// Tells whether a thread can be parked. A parameter of [`Builder`], [`Thread`] and [`Context`].
///
/// [`Builder`]: super::Builder
/// [`Thread`]: super::Thread
pub trait Mode: private::Sealed + 'static {
    /// The content of [`Wake::Park`].
    ///
    /// [`Wake::Park`]: super::Wake::Park
    type Request<'a>;

    /// True if the thread can be parked.
    #[doc(hidden)]
    const PARKABLE: bool;

    /// Returns the request to park the thread of `context`.
    ///
    /// # Safety
    ///
    /// The thread must have been requested to park.
    #[doc(hidden)]
    unsafe fn request<'a>(context: &'a Context<'_, Self>) -> Option<Self::Request<'a>>
    where
        Self: Sized;
}

mod private {
    pub trait Sealed {}
}

/// A thread that cannot be parked.
pub struct Plain;

/// A thread that can be parked; see [`Builder::parkable`].
///
/// [`Builder::parkable`]: super::Builder::parkable
pub struct Parkable;

impl private::Sealed for Plain {}
impl private::Sealed for Parkable {}

impl Mode for Plain {
    type Request<'a> = Infallible;

    const PARKABLE: bool = false;

    #[inline(always)]
    unsafe fn request<'a>(_context: &'a Context<'_, Self>) -> Option<Infallible> {
        None
    }
}

impl Mode for Parkable {
    type Request<'a> = ParkRequest<'a>;

    const PARKABLE: bool = true;

    #[inline(always)]
    unsafe fn request<'a>(context: &'a Context<'_, Self>) -> Option<ParkRequest<'a>> {
        Some(ParkRequest::new(context))
    }
}

/// A request to park the current thread. Dropping the request parks the thread.
///
/// Hence a body cannot overlook a request. If a body has to release resources before it parks, it
/// does so before it calls [`ParkRequest::park`]. If the request is leaked, the next sleep returns
/// it again.
pub struct ParkRequest<'a> {
    core: &'a Core,
    _not_send: NotThreadSafe,
}

impl<'a> ParkRequest<'a> {
    /// Creates the request to park the thread of `context`.
    #[inline(always)]
    pub(super) fn new(context: &'a Context<'_, Parkable>) -> Self {
        Self {
            core: context.core,
            _not_send: NotThreadSafe,
        }
    }

    /// Parks the thread, and returns when the thread is unparked or requested to stop.
    ///
    /// # Context
    ///
    /// Process context, in the thread; sleeps.
    #[doc(alias = "kthread_parkme")]
    pub fn park(self) {}
}

impl Drop for ParkRequest<'_> {
    fn drop(&mut self) {
        let freezable = self.core.freezable;
        if freezable {
            // A parked thread does not run and hence cannot freeze: the freezer must not wait for
            // it.
            //
            // SAFETY: `tether_set_nofreeze()` requires that only the current task changes its
            // flags. The current task is the thread of the request, which is not `Send`.
            unsafe { bindings::tether_set_nofreeze() };
        }
        // SAFETY: `pass()` must be called by the thread that `parking` belongs to. A request is not
        // `Send` and cannot leave its thread.
        unsafe { self.core.parking.pass() };
        if freezable {
            // SAFETY: `tether_set_freezable()` requires a kernel thread that may sleep. The current
            // task is the thread of the request, in its body.
            unsafe { bindings::tether_set_freezable() };
        }
    }
}

/// The requests to park a thread.
///
/// # Invariants
///
/// * The task that has changed `state` from [`RUNNING`] to [`ASKED`] is the only task that calls
///   `kthread_park()`. It does so in the states [`GATE`] and [`LEAVE`], in which the thread is at
///   the gate.
/// * `kthread_unpark()` is called by that task in the state [`LEAVE`], or by the task that has
///   changed `state` from [`PARKED`] to [`UNPARKING`].
/// * While the thread is at the gate, only these two tasks change `state` to [`RUNNING`], and the
///   thread leaves the gate only afterwards.
/// * `answered` is completed once for each time that the thread, or a task that requests it to
///   stop, changes `state` from [`ASKED`] or [`ASKED_UNPARK`], and is waited for equally often.
#[pin_data]
pub(super) struct Parking {
    state: Atomic<u32>,
    #[pin]
    pub(super) answered: Completion,
}

impl Parking {
    pub(super) fn new() -> impl PinInit<Self> {
        // INVARIANT: There is no request yet, and `answered` is not completed.
        pin_init!(Self {
            state: Atomic::new(RUNNING),
            answered <- Completion::new(),
        })
    }

    /// Returns whether a task waits for the thread to reach the gate.
    #[inline]
    pub(super) fn is_asked(&self) -> bool {
        matches!(self.state.load(Acquire), ASKED | ASKED_UNPARK)
    }

    pub(super) fn is_parked(&self) -> bool {
        self.state.load(Acquire) == PARKED
    }

    /// Withdraws a request. Returns whether the thread had not answered.
    fn withdraw(&self) -> bool {
        [ASKED, ASKED_UNPARK]
            .iter()
            .any(|&asked| self.state.cmpxchg(asked, RUNNING, Relaxed).is_ok())
    }

    /// Answers a request, and waits at the gate while the thread is parked.
    ///
    /// # Safety
    ///
    /// Must be called by the thread that `self` belongs to.
    unsafe fn pass(&self) {
        // `answered` orders the accesses of this thread before those of the task that waits for it.
        // The acquire pairs with `unpark()`, after which this thread continues.
        let parks = self.state.cmpxchg(ASKED, GATE, Relaxed).is_ok();
        if !parks && self.state.cmpxchg(ASKED_UNPARK, PASSED, Acquire).is_err() {
            // The request was withdrawn, or was answered by a task that requests a stop.
            return;
        }
        self.answered.complete();
        if !parks {
            return;
        }
        loop {
            // Set the task state before `state` is read: the task that sets `state` to `RUNNING`
            // wakes this thread afterwards.
            //
            // SAFETY: `set_current_state()` requires that the task does not block in this state by
            // accident. It is set back below, before anything else that may sleep.
            unsafe { bindings::set_current_state(bindings::TASK_IDLE) };
            // `state` may be `ASKED` again already. The next request is answered in the next sleep.
            // `set_current_state()` below is a full barrier, so that the thread sees what was
            // written before it was unparked.
            if !matches!(self.state.load(Relaxed), GATE | LEAVE | PARKED | UNPARKING) {
                break;
            }
            // SAFETY: `kthread_should_park()` requires a kernel thread, which the current task is
            // by the function's contract.
            if unsafe { bindings::kthread_should_park() } {
                // SAFETY: `kthread_parkme()` requires a kernel thread that may sleep. The current
                // task is one, in its body.
                unsafe { bindings::kthread_parkme() };
            } else {
                // SAFETY: `schedule()` requires process context without locks. The current task is
                // a kernel thread, in its body.
                unsafe { bindings::schedule() };
            }
        }
        // SAFETY: A running task may set its state to `TASK_RUNNING` at any time.
        unsafe { bindings::set_current_state(bindings::TASK_RUNNING) };
    }

    /// Refuses a pending request and all later requests, because the body has returned.
    ///
    /// # Safety
    ///
    /// Must be called by the thread that `self` belongs to.
    pub(super) unsafe fn end(&self) {
        if matches!(self.state.xchg(OVER, Relaxed), ASKED | ASKED_UNPARK) {
            self.answered.complete();
        }
    }
}

impl Core {
    /// Parks the thread, and waits until it is parked.
    pub(super) fn park(&self, limit: Limit) -> Result {
        let (parking, task) = (&self.parking, self.task());
        let state = &parking.state;
        if !may_sleep() {
            return Err(EDEADLK);
        }
        match state.cmpxchg(RUNNING, ASKED, Full) {
            Ok(_) => {}
            Err(OVER) => return Err(ESRCH),
            Err(_) => return Err(EBUSY),
        }
        // Both sides are fully ordered: either this task sees that the thread is requested to stop,
        // or the task that requests the stop sees the request to park, and answers it. The thread
        // does not: it may wait for this task before its body returns.
        let answered = if self.should_stop() {
            Err(ESRCH)
        } else {
            self.waits.wait_for(limit).and_then(|_waiting| {
                task.wake_up();
                self.wait_for_answer(limit)
            })
        };
        if let Err(error) = answered {
            if parking.withdraw() {
                return Err(error);
            }
            // The thread has just answered, and is about to complete `answered`.
            parking.answered.wait(Limit::None)?;
        }
        if matches!(state.load(Relaxed), GATE | LEAVE) {
            // If the stop was requested before this request, the task that requested it has not
            // unparked the thread.
            if !self.should_stop() {
                // SAFETY: `kthread_park()` requires a valid kernel thread that does not exit, calls
                // `kthread_parkme()` and is parked by no other task. By the invariants of `Parking`
                // the thread is at the gate, where it calls `kthread_parkme()`, and this task is
                // the only one that parks it.
                unsafe { bindings::kthread_park(task.as_ptr()) };
                if state.cmpxchg(GATE, PARKED, Full).is_ok() {
                    return Ok(());
                }
                // SAFETY: `kthread_unpark()` requires a valid kernel thread, which is parked. By
                // the invariants of `Parking` this task unparks it in the state `LEAVE`.
                unsafe { bindings::kthread_unpark(task.as_ptr()) };
            }
            self.leave_gate();
        } else if state.cmpxchg(PASSED, RUNNING, Relaxed).is_err() {
            // The body has returned.
            return Err(ESRCH);
        }
        if self.should_stop() {
            return Err(ESRCH);
        }
        // The thread was parked, or was about to be parked, and was unparked since.
        Ok(())
    }

    /// Lets the thread leave the gate.
    fn leave_gate(&self) {
        self.parking.state.xchg(RUNNING, Full);
        self.task().wake_up();
    }

    /// Unparks the thread, if it is parked or requested to park. Does not wait.
    pub(super) fn unpark(&self) {
        self.unpark_or(ASKED_UNPARK);
    }

    /// As [`Core::unpark`], for a thread that was requested to stop: answers a pending request.
    pub(super) fn unpark_to_stop(&self) {
        self.unpark_or(PASSED);
    }

    /// Unparks the thread. A pending request changes to `asked`.
    fn unpark_or(&self, asked: u32) {
        let state = &self.parking.state;
        loop {
            let from = state.load(Relaxed);
            let to = match from {
                ASKED => asked,
                ASKED_UNPARK if asked == PASSED => PASSED,
                GATE => LEAVE,
                PARKED => UNPARKING,
                _ => return,
            };
            if state.cmpxchg(from, to, Full).is_err() {
                continue;
            }
            if to == UNPARKING {
                // SAFETY: `kthread_unpark()` requires a valid kernel thread, which is parked. By
                // the invariants of `Parking` the task that has changed `state` to `UNPARKING`,
                // which is this task, unparks it.
                unsafe { bindings::kthread_unpark(self.task().as_ptr()) };
                self.leave_gate();
            } else if to == PASSED {
                self.parking.answered.complete();
            }
            return;
        }
    }
}
