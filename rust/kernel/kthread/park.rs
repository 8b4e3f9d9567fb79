// SPDX-License-Identifier: GPL-2.0

//! Parking: a request is answered in any case, and the task that waits for the answer can be
//! killed.
//!
//! `kthread_park()` cannot be interrupted, and never returns if the thread does not call
//! `kthread_parkme()`, if it exits, or if it is unparked meanwhile; and it must not be called
//! twice. So the request is made in [`Parking::state`] first. A thread that accepts it waits at the
//! *gate*, which is a loop in [`Parking::pass`], and only then `kthread_park()` is called: it
//! returns at once. The thread leaves the gate when the state has been `RUNNING` again.
//!
//! ```text
//!            park()            the thread           park()
//!   RUNNING -------> ASKED ------------------> GATE ----------------> PARKED
//!    ^  ^             |  |                      |   kthread_park()     |
//!    |  +-- gives up -+  | unpark()             | unpark()             | unpark()
//!    |                   v                      v                      v
//!    |             ASKED_UNPARK               LEAVE                UNPARKING
//!    |                   | the thread           | park()               |
//!    |                   v                      |   kthread_unpark()   | kthread_unpark()
//!    +----- park() --- PASSED                   +------> RUNNING <-----+
//! ```
//!
//! A thread whose body returns goes from any state in which it runs to `OVER`.

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
        Full, //
    },
    tether::may_sleep,
    types::NotThreadSafe, //
};
use core::convert::Infallible;

/// No request.
const RUNNING: u32 = 0;
/// A task waits in `park()` for the thread to come to the gate.
const ASKED: u32 = 1;
/// As [`ASKED`], and the thread is to go on at once.
const ASKED_UNPARK: u32 = 2;
/// The thread is at the gate, and the task that has asked is about to call `kthread_park()`.
const GATE: u32 = 3;
/// As [`GATE`], and the task that has asked is to unpark the thread again.
const LEAVE: u32 = 4;
/// The thread is parked.
const PARKED: u32 = 5;
/// A task is in `kthread_unpark()`.
const UNPARKING: u32 = 6;
/// The thread has answered a request without parking, and the task that has asked does not know
/// yet.
const PASSED: u32 = 7;
/// The body has returned.
const OVER: u32 = 8;

/// Whether a thread can be parked: a parameter of [`Builder`], [`Thread`] and [`Context`].
///
/// [`Builder`]: super::Builder
/// [`Thread`]: super::Thread
pub trait Mode: private::Sealed + 'static {
    /// The content of [`Wake::Park`].
    ///
    /// [`Wake::Park`]: super::Wake::Park
    type Request<'a>;

    /// Whether the thread can be parked.
    #[doc(hidden)]
    const PARKABLE: bool;

    /// The request to the thread of `context`.
    ///
    /// # Safety
    ///
    /// The thread must have been asked to park.
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

/// A request to park the current thread, which parks when this is dropped.
///
/// So a body cannot overlook a request. A body that has to put something away first does so before
/// it calls [`ParkRequest::park`]. If this is forgotten, the next sleep returns the request again.
pub struct ParkRequest<'a> {
    core: &'a Core,
    _not_send: NotThreadSafe,
}

impl<'a> ParkRequest<'a> {
    /// The request to the thread of `context`.
    #[inline(always)]
    pub(super) fn new(context: &'a Context<'_, Parkable>) -> Self {
        Self {
            core: context.core,
            _not_send: NotThreadSafe,
        }
    }

    /// Parks the thread, and returns when it was unparked or asked to stop.
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
            // A parked thread does not run, and cannot freeze either: the freezer must not wait for
            // it.
            //
            // SAFETY: This is a kernel thread, and only the current thread changes its flags.
            unsafe { bindings::tether_set_nofreeze() };
        }
        // SAFETY: A request has no way out of the thread that it is made to.
        unsafe { self.core.parking.pass() };
        if freezable {
            // SAFETY: This is a kernel thread, where it may sleep.
            unsafe { bindings::tether_set_freezable() };
        }
    }
}

/// The requests to park a thread.
///
/// # Invariants
///
/// * The task that has made `state` [`ASKED`] from [`RUNNING`] is the only one that calls
///   `kthread_park()`, in the state [`GATE`] or [`LEAVE`], in which the thread is at the gate.
/// * `kthread_unpark()` is called by that task in the state [`LEAVE`], or by the task that has made
///   `state` [`UNPARKING`] from [`PARKED`].
/// * Once the thread is at the gate, only the two tasks named above make `state` [`RUNNING`] again,
///   and the thread goes on only when that has happened.
/// * `answered` is completed once for each time that the thread takes `state` out of [`ASKED`] or
///   [`ASKED_UNPARK`], and waited for as often.
#[pin_data]
pub(super) struct Parking {
    state: Atomic<u32>,
    #[pin]
    pub(super) answered: Completion,
}

impl Parking {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state: Atomic::new(RUNNING),
            answered <- Completion::new(),
        })
    }

    /// Whether a task waits for the thread to come to the gate.
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
            .any(|&asked| self.state.cmpxchg(asked, RUNNING, Full).is_ok())
    }

    /// Answers a request, and waits at the gate for as long as the thread is parked.
    ///
    /// # Safety
    ///
    /// Must be called by the thread that `self` belongs to.
    unsafe fn pass(&self) {
        let parks = self.state.cmpxchg(ASKED, GATE, Full).is_ok();
        if !parks && self.state.cmpxchg(ASKED_UNPARK, PASSED, Full).is_err() {
            // The request was withdrawn.
            return;
        }
        self.answered.complete();
        if !parks {
            return;
        }
        loop {
            // Before the state is read: the task that makes it `RUNNING` wakes this thread
            // afterwards.
            //
            // SAFETY: The state is set back below, before anything else that may sleep.
            unsafe { bindings::set_current_state(bindings::TASK_IDLE) };
            // The state may be `ASKED` again already: the next request is answered in the next
            // sleep.
            if !matches!(self.state.load(Acquire), GATE | LEAVE | PARKED | UNPARKING) {
                break;
            }
            // SAFETY: By the function's contract this is a kernel thread.
            if unsafe { bindings::kthread_should_park() } {
                // SAFETY: This is a kernel thread, in its body, where it may sleep.
                unsafe { bindings::kthread_parkme() };
            } else {
                // SAFETY: This is a kernel thread, in its body, where it may sleep.
                unsafe { bindings::schedule() };
            }
        }
        // SAFETY: The state of a running task may be set to `TASK_RUNNING` at any time.
        unsafe { bindings::set_current_state(bindings::TASK_RUNNING) };
    }

    /// Refuses a request that is waiting and all later ones, because the body has returned.
    ///
    /// # Safety
    ///
    /// Must be called by the thread that `self` belongs to.
    pub(super) unsafe fn end(&self) {
        if matches!(self.state.xchg(OVER, Full), ASKED | ASKED_UNPARK) {
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
        // Both are fully ordered: either we see that the thread is asked to stop, or the task that
        // asks it sees the request and withdraws it in `unpark()`.
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
            // The thread has just answered, and is about to complete this.
            parking.answered.wait(Limit::None)?;
        }
        if matches!(state.load(Acquire), GATE | LEAVE) {
            // The task that asks the thread to stop may have come before the request, and does not
            // unpark the thread then.
            if !self.should_stop() {
                // SAFETY: The task is valid, and is a kernel thread that does not exit: by the
                // invariants of `Parking` it is at the gate, where it calls `kthread_parkme()`, and
                // no other task parks it.
                unsafe { bindings::kthread_park(task.as_ptr()) };
                if state.cmpxchg(GATE, PARKED, Full).is_ok() {
                    return Ok(());
                }
                // SAFETY: The task is valid and parked, and by the invariants of `Parking` it is
                // ours to unpark in the state `LEAVE`.
                unsafe { bindings::kthread_unpark(task.as_ptr()) };
            }
            self.leave_gate();
        } else if state.cmpxchg(PASSED, RUNNING, Full).is_err() {
            // The body has returned.
            return Err(ESRCH);
        }
        if self.should_stop() {
            return Err(ESRCH);
        }
        // It was parked, or was about to be, and was unparked since.
        Ok(())
    }

    /// Lets the thread go past the gate.
    fn leave_gate(&self) {
        self.parking.state.xchg(RUNNING, Full);
        self.task().wake_up();
    }

    /// Unparks the thread, if it is parked or asked to park. Does not wait.
    pub(super) fn unpark(&self) {
        let state = &self.parking.state;
        loop {
            let from = state.load(Acquire);
            let to = match from {
                ASKED => ASKED_UNPARK,
                GATE => LEAVE,
                PARKED => UNPARKING,
                _ => return,
            };
            if state.cmpxchg(from, to, Full).is_err() {
                continue;
            }
            if to == UNPARKING {
                // SAFETY: The task is valid and parked, and by the invariants of `Parking` it is
                // ours to unpark.
                unsafe { bindings::kthread_unpark(self.task().as_ptr()) };
                self.leave_gate();
            }
            return;
        }
    }
}
