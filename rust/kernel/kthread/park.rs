// SPDX-License-Identifier: GPL-2.0

//! Parking: who may ask for it when, and that everybody who asks is answered.
//!
//! `kthread_park()` waits until the thread has parked: for ever, if it never does, if it ends, or
//! if somebody unparks it meanwhile; and it must not be called twice. So whoever is about to call it
//! says so first, in [`Parking::state`]; who wants to unpark the thread then leaves that to him; and
//! the thread answers a last time when its body has returned.

use super::{
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
        Relaxed,
        Release, //
    },
    tether::{
        read_once,
        write_once, //
    },
    types::NotThreadSafe, //
};
use core::convert::Infallible;

/// Nobody has asked.
const RUNNING: u32 = 0;
/// Somebody is in `kthread_park()`.
const PARKING: u32 = 1;
/// The thread is parked.
const PARKED: u32 = 2;
/// Somebody unparks it: who is in `kthread_park()`, if there is one.
const UNPARKING: u32 = 3;
/// The body has returned, or will never run: it is too late to ask.
const OVER: u32 = 4;

/// Whether a thread can be parked: a parameter of [`Builder`], [`Thread`] and [`Context`].
///
/// [`Builder`]: super::Builder
/// [`Thread`]: super::Thread
pub trait Mode: private::Sealed + 'static {
    /// What [`Wake::Park`] has.
    ///
    /// [`Wake::Park`]: super::Wake::Park
    type Request<'a>;

    /// Whether it can be parked.
    #[doc(hidden)]
    const PARKABLE: bool;

    /// The request, when somebody has asked; none where nobody can.
    #[doc(hidden)]
    fn request<'a>(context: &'a Context<'_, Self>) -> Option<Self::Request<'a>>
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
    fn request<'a>(_context: &'a Context<'_, Self>) -> Option<Infallible> {
        None
    }
}

impl Mode for Parkable {
    type Request<'a> = ParkRequest<'a>;

    const PARKABLE: bool = true;

    #[inline(always)]
    fn request<'a>(context: &'a Context<'_, Self>) -> Option<ParkRequest<'a>> {
        Some(ParkRequest::new(context))
    }
}

/// Whether the current thread, which is a kernel thread, is to park.
pub(super) fn should_park() -> bool {
    // SAFETY: This is a kernel thread.
    unsafe { bindings::kthread_should_park() }
}

/// Somebody waits for the thread to be parked: it parks when this is dropped.
///
/// So a body cannot overlook it, and one that has something to put away first does so before it
/// calls [`ParkRequest::park`].
pub struct ParkRequest<'a> {
    core: &'a Core,
    _not_send: NotThreadSafe,
}

impl<'a> ParkRequest<'a> {
    /// That of the thread of `context`, which is asked to park.
    #[inline(always)]
    pub(super) fn new(context: &'a Context<'_, Parkable>) -> Self {
        Self {
            core: context.core,
            _not_send: NotThreadSafe,
        }
    }

    /// Parks; returns when the thread was unparked, or asked to stop. Sleeps.
    #[doc(alias = "kthread_parkme")]
    pub fn park(self) {}
}

impl Drop for ParkRequest<'_> {
    fn drop(&mut self) {
        if self.core.freezable {
            // Who is parked cannot freeze, and would make a suspend fail; it does not run either.
            //
            // SAFETY: This is a kernel thread, whose flags nobody else changes.
            unsafe { bindings::tether_set_nofreeze() };
        }
        // SAFETY: This is a kernel thread, in its body, where it may sleep.
        unsafe { bindings::kthread_parkme() };
        if self.core.freezable {
            // SAFETY: As above.
            unsafe { bindings::tether_set_freezable() };
        }
    }
}

/// What there is to know of a thread's parking.
///
/// # Invariants
///
/// * `kthread_park()` is only called by who has made `state` [`PARKING`] from [`RUNNING`], and
///   `kthread_unpark()` by him when it has returned, or by who has made it [`UNPARKING`] from
///   [`PARKED`]: so one at a time.
/// * The thread does not end before it has made it [`OVER`] from [`RUNNING`].
pub(super) struct Parking {
    state: Atomic<u32>,
    /// The body has returned: the thread parks once more if it must, to be unparked at once.
    returned: Atomic<bool>,
}

impl Parking {
    pub(super) fn new() -> Self {
        Self {
            state: Atomic::new(RUNNING),
            returned: Atomic::new(false),
        }
    }

    /// Parking will never be asked for: of a thread that has not begun and never will.
    pub(super) fn never(&self) {
        self.state.store(OVER, Relaxed);
    }
}

impl Core {
    /// Parks the thread, and waits until it is.
    pub(super) fn park(&self) -> Result {
        let _waiting = self.wait_for()?;
        let (state, task) = (&self.parking.state, self.task());
        match state.cmpxchg(RUNNING, PARKING, Full) {
            Ok(_) => {}
            Err(OVER) => return Err(ESRCH),
            Err(_) => return Err(EBUSY),
        }
        // Both are fully ordered: either we see that the thread is asked to stop, or who asks sees
        // us.
        if !self.should_stop() {
            // SAFETY: The task is valid. It does not end while we are parking, nor is it unparked,
            // by the invariants of `Parking`.
            unsafe { bindings::kthread_park(task.as_ptr()) };
            if !read_once(&self.parking.returned) && state.cmpxchg(PARKING, PARKED, Full).is_ok() {
                return Ok(());
            }
            // SAFETY: As above: it is for us to unpark it.
            unsafe { bindings::kthread_unpark(task.as_ptr()) };
        }
        state.store(RUNNING, Release);
        // It may wait for that.
        task.wake_up();
        if self.should_stop() || read_once(&self.parking.returned) {
            return Err(ESRCH);
        }
        // It was parked, and somebody has unparked it since.
        Ok(())
    }

    /// Unparks the thread, if it is parked or is about to be. Does not wait.
    pub(super) fn unpark(&self) {
        let (state, task) = (&self.parking.state, self.task());
        loop {
            let from = read_once(state);
            if from != PARKED && from != PARKING {
                return;
            }
            if state.cmpxchg(from, UNPARKING, Full).is_ok() {
                if from == PARKED {
                    break;
                }
                // Who parks it will do this.
                return;
            }
        }
        // SAFETY: The task is valid. It does not end before the state is changed below.
        unsafe { bindings::kthread_unpark(task.as_ptr()) };
        state.store(RUNNING, Release);
        task.wake_up();
    }

    pub(super) fn is_parked(&self) -> bool {
        self.parking.state.load(Acquire) == PARKED
    }

    /// The body has returned: answers who parks it, and lets nobody begin with that.
    ///
    /// # Safety
    ///
    /// Must be called in the thread.
    pub(super) unsafe fn end_parking(&self) {
        write_once(&self.parking.returned, true);
        // Mostly nobody asks.
        if self.parking.state.cmpxchg(RUNNING, OVER, Full).is_ok() {
            return;
        }
        loop {
            // Before the state is read: who changes it afterwards wakes us.
            //
            // SAFETY: It is undone below, before anything else that may sleep.
            unsafe { bindings::set_current_state(bindings::TASK_IDLE) };
            if self.parking.state.cmpxchg(RUNNING, OVER, Full).is_ok() {
                break;
            }
            if should_park() {
                // SAFETY: This is a kernel thread, which may sleep; the state is set by this.
                unsafe { bindings::kthread_parkme() };
            } else {
                // SAFETY: We are in a thread of our own, and hold nothing.
                unsafe { bindings::schedule() };
            }
        }
        // SAFETY: A running task may always say that it runs.
        unsafe { bindings::set_current_state(bindings::TASK_RUNNING) };
    }
}
