// SPDX-License-Identifier: GPL-2.0

//! The handles of a thread.

use super::{
    completion::Limit,
    payload::take_result,
    thread_core::{
        Core,
        CoreRef,
        ATTACHED,
        DETACHED, //
    },
    Exit,
    Mode,
    Parkable,
    Plain,
    Policy, //
};
use crate::{
    prelude::*,
    sync::{
        aref::ARef,
        atomic::Full, //
    },
    task::Task,
    tether::{
        may_sleep,
        Entered,
        Refused, //
    },
    time::Delta, //
};
use core::marker::PhantomData;

/// Wakes a thread from where its [`Thread`] is not at hand. It keeps the thread's memory, but
/// neither the thread nor its result.
#[derive(Clone)]
pub struct Waker {
    core: CoreRef,
}

impl Waker {
    /// Wakes the thread as [`Thread::wake`] does. Does nothing when the thread has ended.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    pub fn wake(&self) {
        self.core.wake();
    }
}

/// A thread that was made, and does not run yet.
///
/// Dropping it ends the thread, which sleeps: the body is dropped without having been called. In an
/// interrupt that is left to the end of the module.
#[must_use = "a thread that is not started does nothing, and is ended when this is dropped"]
pub struct Unstarted<R: Send + 'static, M = Plain>(pub(super) Thread<R, M>);

impl<R: Send + 'static, M: Mode> Unstarted<R, M> {
    /// Lets the thread call its body.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    #[doc(alias = "wake_up_process")]
    pub fn start(self) -> Thread<R, M> {
        self.0.core().start();
        self.0
    }

    /// The thread's task. Waking it does not start the thread.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    pub fn task(&self) -> ARef<Task> {
        self.0.core().task().into()
    }
}

/// Makes a type invariant in `T`, which has no part of its own in there.
type Invariant<T> = PhantomData<fn(T) -> T>;

/// A kernel thread that returns `R`.
///
/// Dropping it stops the thread and waits for it, which sleeps. Inside the thread itself, inside a
/// thread that it waits for, and in an interrupt, the thread is asked to stop and not waited for.
///
/// # Invariants
///
/// `core` is that of a [`WithResult<R>`]. It is `None` only while it is being given up.
pub struct Thread<R: Send + 'static, M = Plain> {
    pub(super) core: Option<CoreRef>,
    // Invariant: `R` has chosen the function that drops the result.
    pub(super) _types: Invariant<(R, M)>,
}

impl<R: Send + 'static> Thread<R, Parkable> {
    /// Asks the thread to park, and waits until it is parked: until it has come to the next place
    /// where its body sleeps by its [`Context`] or asks whether it is to park.
    ///
    /// # Context
    ///
    /// Process context; sleeps uninterruptibly, for as long as the body takes.
    ///
    /// # Errors
    ///
    /// * [`EBUSY`] if the thread is parked already, or another task is about to park or unpark it;
    /// * [`ESRCH`] if its body has returned, meanwhile or before, or if it is asked to stop;
    /// * [`EDEADLK`] if this is called inside the thread, inside one that it waits for, or in an
    ///   interrupt.
    #[doc(alias = "kthread_park")]
    pub fn park(&self) -> Result {
        self.core().park(Limit::None)
    }

    /// Like [`Thread::park`], but a fatal signal ends the wait: for a task that acts on behalf of a
    /// user.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As [`Thread::park`], and [`EINTR`] if the current task was killed, is in its exit, or is a
    /// thread that is asked to stop. The request is withdrawn
    /// then.
    pub fn park_killable(&self) -> Result {
        self.core().park(Limit::Killed)
    }

    /// Like [`Thread::park_killable`], but for at most `time`, which is rounded up to whole
    /// jiffies.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As [`Thread::park_killable`], and [`ETIMEDOUT`] if the thread has not parked within `time`.
    /// The request is withdrawn then.
    pub fn park_timeout(&self, time: Delta) -> Result {
        self.core().park(Limit::killed_or_after(time))
    }

    /// Lets the thread go on, if it is parked. If another task is about to park it, the thread is
    /// unparked as soon as it is parked.
    ///
    /// # Context
    ///
    /// Any context but NMI; does not wait.
    #[doc(alias = "kthread_unpark")]
    pub fn unpark(&self) {
        self.core().unpark();
    }

    /// Whether the thread is parked.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn is_parked(&self) -> bool {
        self.core().parking.is_parked()
    }
}

impl<R: Send + 'static, M> Thread<R, M> {
    fn core(&self) -> &CoreRef {
        match &self.core {
            Some(core) => core,
            // It is only taken by methods that consume the handle.
            None => unreachable!(),
        }
    }

    /// The thread's task.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    pub fn task(&self) -> ARef<Task> {
        self.core().task().into()
    }

    /// Changes how the thread is scheduled.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    ///
    /// # Errors
    ///
    /// * [`EINVAL`] if there is no such niceness;
    /// * [`EDEADLK`] in an interrupt;
    /// * [`ESRCH`] if the body of the thread has returned, or the thread was ended with its module.
    #[doc(alias = "sched_set_normal")]
    #[doc(alias = "sched_set_fifo")]
    pub fn set_policy(&self, policy: Policy) -> Result {
        policy.check()?;
        if !may_sleep() {
            return Err(EDEADLK);
        }
        if self.core().is_over() {
            return Err(ESRCH);
        }
        policy.apply(self.core().task());
        Ok(())
    }

    /// Wakes the thread, if it sleeps by its [`Context`], and ends its next sleep there otherwise.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    #[doc(alias = "wake_up_process")]
    pub fn wake(&self) {
        self.core().wake();
    }

    /// Returns an object that wakes the thread, to be kept where the handle is not.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn waker(&self) -> Waker {
        Waker {
            core: self.core().clone(),
        }
    }

    /// Asks the thread to stop, and does not wait. If it is parked it is unparked.
    ///
    /// The body is called with [`Context::should_stop`] true if it has not begun, unless the handle
    /// is dropped or [`Thread::stop`] is called before it begins.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    pub fn request_stop(&self) {
        self.core().request_stop();
    }

    /// Whether the body has returned, or will never be called.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn is_finished(&self) -> bool {
        self.core().is_over()
    }

    /// Gives the handle up for the result after the thread has ended, or back with the error.
    fn exit(mut self, ended: Result<Entered>) -> Result<Exit<R>, Refused<Self>> {
        let _entered = match ended {
            Ok(entered) => entered,
            Err(error) => return Err(Refused::new(self, error)),
        };
        // SAFETY: By the type's invariants the core is that of a `WithResult<R>`.
        let exit = unsafe { take_result(self.core().this) };
        self.core = None;
        Ok(exit)
    }

    /// Asks the thread to stop, waits until it has ended, and returns its result.
    ///
    /// If the body has not begun, it is dropped without having been called.
    ///
    /// # Context
    ///
    /// Process context; sleeps uninterruptibly, for as long as the body takes.
    ///
    /// # Errors
    ///
    /// The handle comes back with
    ///
    /// * [`EDEADLK`] if this is called inside the thread, inside one that it waits for, or in an
    ///   interrupt;
    /// * [`ENODEV`] if the thread was ended together with its module, which has dropped the result.
    #[doc(alias = "kthread_stop")]
    pub fn stop(self) -> Result<Exit<R>, Refused<Self>> {
        // SAFETY: The handle is ours alone.
        let ended = unsafe { self.core().stop(Limit::None) };
        self.exit(ended)
    }

    /// Like [`Thread::stop`], but a fatal signal ends the wait: for a task that acts on behalf of a
    /// user. The body is called in any case.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As [`Thread::stop`], and [`EINTR`] if the current task was killed, is in its exit, or is a
    /// thread that is asked to stop. The thread is asked to stop
    /// all the same.
    pub fn stop_killable(self) -> Result<Exit<R>, Refused<Self>> {
        // SAFETY: The handle is ours alone.
        let ended = unsafe { self.core().stop(Limit::Killed) };
        self.exit(ended)
    }

    /// Like [`Thread::stop_killable`], but for at most `time`, which is rounded up to whole
    /// jiffies.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As [`Thread::stop_killable`], and [`ETIMEDOUT`] if the body has not returned within `time`.
    pub fn stop_timeout(self, time: Delta) -> Result<Exit<R>, Refused<Self>> {
        // SAFETY: The handle is ours alone.
        let ended = unsafe { self.core().stop(Limit::killed_or_after(time)) };
        self.exit(ended)
    }

    fn join_within(self, limit: Limit) -> Result<R, Refused<Self>> {
        // SAFETY: The handle is ours alone.
        let _entered = match unsafe { self.core().join(limit) } {
            Ok(entered) => entered,
            Err(error) => return Err(Refused::new(self, error)),
        };
        // SAFETY: By the type's invariants the core is that of a `WithResult<R>`.
        match unsafe { take_result(self.core().this) } {
            Exit::Returned(result) => Ok(result),
            Exit::NeverRan | Exit::Died => Err(Refused::new(self, ENODEV)),
        }
    }

    /// Waits for the thread to end by itself, and returns its result. If it is parked it is
    /// unparked.
    ///
    /// # Context
    ///
    /// Process context; sleeps uninterruptibly, for as long as the body takes.
    ///
    /// # Errors
    ///
    /// The handle comes back with
    ///
    /// * [`EDEADLK`] if this is called inside the thread, inside one that it waits for, or in an
    ///   interrupt;
    /// * [`ENODEV`] if the thread was ended together with its module, which has dropped the body or
    ///   the result.
    pub fn join(self) -> Result<R, Refused<Self>> {
        self.join_within(Limit::None)
    }

    /// Like [`Thread::join`], but a fatal signal ends the wait: for a task that acts on behalf of a
    /// user.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As [`Thread::join`], and [`EINTR`] if the current task was killed, is in its exit, or is a
    /// thread that is asked to stop.
    pub fn join_killable(self) -> Result<R, Refused<Self>> {
        self.join_within(Limit::Killed)
    }

    /// Like [`Thread::join_killable`], but for at most `time`, which is rounded up to whole
    /// jiffies.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As [`Thread::join_killable`], and [`ETIMEDOUT`] if the body has not returned within `time`.
    pub fn join_timeout(self, time: Delta) -> Result<R, Refused<Self>> {
        self.join_within(Limit::killed_or_after(time))
    }

    /// Like [`Thread::join`] if the body has returned, so that this does not wait for the body.
    ///
    /// # Context
    ///
    /// Process context; may sleep for a short time.
    ///
    /// # Errors
    ///
    /// As [`Thread::join`], and the handle comes back with [`EAGAIN`] if the body has not returned.
    pub fn try_join(self) -> Result<R, Refused<Self>> {
        if !self.core().is_over() {
            return Err(Refused::new(self, EAGAIN));
        }
        self.join()
    }

    /// Lets the thread go on by itself. It keeps its module loaded until it is out of the text of
    /// the module. If it is parked it is unparked.
    ///
    /// Its result is dropped in the thread. If the init of its module fails, the thread is asked to
    /// stop, and the end of the module waits for it.
    ///
    /// # Context
    ///
    /// Process context; sleeps if the body has just returned, until the thread has ended.
    ///
    /// # Errors
    ///
    /// The handle comes back with [`ENODEV`] if the module is going, and with [`EDEADLK`] in an
    /// interrupt.
    pub fn detach(mut self) -> Result<(), Refused<Self>> {
        if !may_sleep() {
            return Err(Refused::new(self, EDEADLK));
        }
        // The end of the module has given it up, so that it will not drop the pin.
        if self.core().start.is_given_up() {
            return Err(Refused::new(self, ENODEV));
        }
        let owner = self.core().attachment.owner();
        if let Err(error) = owner.pin() {
            return Err(Refused::new(self, error));
        }
        if !self.core().attachment.make_independent() {
            // SAFETY: The pin is ours, and nobody was told of it.
            unsafe { owner.unpin() };
            return Err(Refused::new(self, ENODEV));
        }
        self.core().unpark();
        let stage = &self.core().stage;
        if stage.cmpxchg(ATTACHED, DETACHED, Full).is_err() {
            // The body has returned, and the thread does not know that it was detached.
            //
            // SAFETY: The attachment was made independent, and only the thread of a detached handle
            // would remove it.
            unsafe { self.core().attachment.remove() };
            // SAFETY: We have just taken the attachment off its owner's list, and the pin keeps the
            // owner's text.
            unsafe { self.core().reap() };
            // SAFETY: By the type's invariants the core is that of a `WithResult<R>`.
            drop(unsafe { take_result::<R>(self.core().this) });
            // SAFETY: The list's reference is ours now, and the handle has its own.
            unsafe { Core::put(self.core().this) };
            // SAFETY: The pin is ours, and nobody was told of it.
            unsafe { owner.unpin() };
        }
        self.core = None;
        Ok(())
    }
}

impl<R: Send + 'static, M> Drop for Thread<R, M> {
    fn drop(&mut self) {
        let Some(core) = &self.core else {
            return;
        };
        // SAFETY: The handle is ours alone.
        if let Some(_entered) = unsafe { core.abandon() } {
            // SAFETY: By the type's invariants the core is that of a `WithResult<R>`.
            drop(unsafe { take_result::<R>(core.this) });
        }
    }
}
