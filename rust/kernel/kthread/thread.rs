// SPDX-License-Identifier: GPL-2.0

//! The handles of a thread.

use super::{
    check_signal,
    completion::Limit,
    payload::take_result,
    thread_core::{
        Core,
        CoreRef, //
    },
    Exit,
    Mode,
    Parkable,
    Plain,
    Policy, //
};
use crate::{
    bindings,
    error::to_result,
    prelude::*,
    sync::aref::ARef,
    task::Task,
    tether::{
        may_sleep,
        OwnerGuard,
        Refused, //
    },
    time::Delta, //
};
use core::marker::PhantomData;

/// Wakes a thread without its [`Thread`] handle. A waker keeps the thread's memory allocated, but
/// neither the thread running nor its result.
#[derive(Clone)]
pub struct Waker {
    core: CoreRef,
}

impl Waker {
    /// Wakes the thread like [`Thread::wake`]. Does nothing if the thread has ended.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    pub fn wake(&self) {
        self.core.wake();
    }
}

/// A thread that was created and has not been started.
///
/// Dropping this ends the thread, which may sleep: the body is dropped without having been called.
/// In an interrupt, the thread is ended by teardown of its module instead.
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

    /// Returns the thread's task. Waking the task does not start the thread.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    pub fn task(&self) -> ARef<Task> {
        self.0.core().task().into()
    }
}

/// Makes a type invariant in `T`, although the type contains no `T`.
type Invariant<T> = PhantomData<fn(T) -> T>;

/// A kernel thread that returns `R`.
///
/// Dropping it stops the thread and waits for it, which sleeps. Inside the thread itself, inside a
/// thread that it waits for, and in an interrupt, dropping it only requests the thread to stop
/// (unless it is the current thread), and does not wait.
///
/// # Invariants
///
/// `core` is the core of a `WithResult<R>`. It is `None` only while the handle is being consumed.
pub struct Thread<R: Send + 'static, M = Plain> {
    pub(super) core: Option<CoreRef>,
    // Invariant in `R`: `R` selects the function that drops the result.
    pub(super) _types: Invariant<(R, M)>,
}

impl<R: Send + 'static> Thread<R, Parkable> {
    /// Requests the thread to park, and waits until it is parked. The thread parks at the next
    /// place where its body sleeps by its [`Context`](super::Context) or checks for a request to
    /// park.
    ///
    /// # Context
    ///
    /// Process context; sleeps uninterruptibly, for as long as the body takes.
    ///
    /// # Errors
    ///
    /// * [`EBUSY`] if the thread is parked already, or another task is about to park or unpark it;
    /// * [`ESRCH`] if its body has returned or returns meanwhile, or if the thread is requested to
    ///   stop;
    /// * [`EDEADLK`] if this is called inside the thread, inside a thread that it waits for, or in
    ///   an interrupt;
    /// * [`EINTR`] if the caller is a thread or a work that was requested to stop, and the wait has
    ///   lasted for a second.
    #[doc(alias = "kthread_park")]
    pub fn park(&self) -> Result {
        self.core().park(Limit::None)
    }

    /// Parks the thread like [`Thread::park`], but a fatal signal ends the wait. For a task that
    /// acts on behalf of a user.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As for [`Thread::park`], and [`EINTR`] if the current task was killed, is exiting, or is a
    /// thread that is requested to stop. In this case the request to park is withdrawn.
    pub fn park_killable(&self) -> Result {
        self.core().park(Limit::Killed)
    }

    /// Parks the thread like [`Thread::park_killable`], but waits for at most `time`, which is
    /// rounded up to whole jiffies.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As for [`Thread::park_killable`], and [`ETIMEDOUT`] if the thread has not parked within
    /// `time`. In this case the request is withdrawn.
    pub fn park_timeout(&self, time: Delta) -> Result {
        self.core().park(Limit::killed_or_after(time))
    }

    /// Unparks the thread, if it is parked. If another task is about to park it, the thread is
    /// unparked as soon as it is parked.
    ///
    /// # Context
    ///
    /// Any context but NMI; does not wait.
    #[doc(alias = "kthread_unpark")]
    pub fn unpark(&self) {
        self.core().unpark();
    }

    /// Returns whether the thread is parked.
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
            // The core is only taken by methods that consume the handle.
            None => unreachable!(),
        }
    }

    /// Returns the thread's task.
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
    /// * [`EINVAL`] if the niceness is out of range;
    /// * [`EINVAL`] if the policy is [`Policy::Deadline`], and [`EBUSY`] if that of the thread is:
    ///   only the thread itself can change to it, or from it;
    /// * [`EDEADLK`] in an interrupt;
    /// * [`ESRCH`] if the body of the thread has returned, or the thread was ended by module
    ///   teardown.
    #[doc(alias = "sched_set_normal")]
    #[doc(alias = "sched_set_fifo")]
    #[doc(alias = "sched_setattr_nocheck")]
    pub fn set_policy(&self, policy: Policy) -> Result {
        if self.core().is_over() {
            return Err(ESRCH);
        }
        self.core().policy_lock.change(self.core().task(), policy)
    }

    /// Sends a signal to the thread. A signal that the body has not allowed by
    /// [`Context::allow_signal`] is ignored.
    ///
    /// # Context
    ///
    /// Any context but NMI; on `PREEMPT_RT`, process context.
    ///
    /// # Errors
    ///
    /// * [`EINVAL`] if the number of the signal is out of range, or that of `SIGKILL`, by which
    ///   Tether interrupts a thread that uses the memory of a process;
    /// * [`EDEADLK`] in an interrupt, on `PREEMPT_RT`;
    /// * [`ESRCH`] if the body of the thread has returned, or the thread was ended by module
    ///   teardown.
    #[doc(alias = "send_sig")]
    pub fn send_signal(&self, signal: u32) -> Result {
        check_signal(signal)?;
        if signal == bindings::SIGKILL {
            return Err(EINVAL);
        }
        // The lock of signals sleeps on `PREEMPT_RT`.
        if cfg!(CONFIG_PREEMPT_RT) && !may_sleep() {
            return Err(EDEADLK);
        }
        if self.core().is_over() {
            return Err(ESRCH);
        }
        // SAFETY: `send_sig()` requires a valid task, which the core has a reference to. The signal
        // comes from the kernel.
        to_result(unsafe { bindings::send_sig(signal as c_int, self.core().task().as_ptr(), 1) })
    }

    /// Wakes the thread if it sleeps by its [`Context`](super::Context); otherwise its next sleep
    /// there ends at once.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    #[doc(alias = "wake_up_process")]
    pub fn wake(&self) {
        self.core().wake();
    }

    /// Returns an object that wakes the thread, for code that has no access to the handle.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn waker(&self) -> Waker {
        Waker {
            core: self.core().clone(),
        }
    }

    /// Requests the thread to stop, without waiting. If the thread is parked, it is unparked.
    ///
    /// If the body has not begun, it is called with
    /// [`Context::should_stop`](super::Context::should_stop) true, unless the handle is dropped or
    /// [`Thread::stop`] is called before the body begins.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    pub fn request_stop(&self) {
        self.core().request_stop();
    }

    /// Returns whether the body has returned or will not be called.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn is_finished(&self) -> bool {
        self.core().is_over()
    }

    /// Consumes the handle of a thread that has ended, and returns its result. If `ended` is an
    /// error, returns the handle with the error.
    fn exit(mut self, ended: Result<OwnerGuard>) -> Result<Exit<R>, Refused<Self>> {
        let _entered = match ended {
            Ok(entered) => entered,
            Err(error) => return Err(Refused::new(self, error)),
        };
        // SAFETY: `take_result()` requires the core of a `WithResult<R>`, which it is by the type's
        // invariants.
        let exit = unsafe { take_result(self.core().this) };
        self.core = None;
        Ok(exit)
    }

    /// Requests the thread to stop, waits until it has ended, and returns its result.
    ///
    /// If the body has not begun, it is dropped without having been called.
    ///
    /// # Context
    ///
    /// Process context; sleeps uninterruptibly, for as long as the body takes.
    ///
    /// # Errors
    ///
    /// The error returns the handle, with
    ///
    /// * [`EDEADLK`] if this is called inside the thread, inside a thread that it waits for, or in
    ///   an interrupt;
    /// * [`ENODEV`] if module teardown has ended the thread, and has dropped the result.
    #[doc(alias = "kthread_stop")]
    pub fn stop(self) -> Result<Exit<R>, Refused<Self>> {
        // SAFETY: `stop()` requires that the caller has the only handle. `self` is it, and there is
        // one handle of a thread.
        let ended = unsafe { self.core().stop(Limit::None) };
        self.exit(ended)
    }

    /// Stops the thread like [`Thread::stop`], but a fatal signal ends the wait. For a task that
    /// acts on behalf of a user. If the thread was started, its body is called.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As for [`Thread::stop`], and [`EINTR`] if the current task was killed, is exiting, or is a
    /// thread that is requested to stop. In this case the thread has been requested to stop.
    pub fn stop_killable(self) -> Result<Exit<R>, Refused<Self>> {
        // SAFETY: `stop()` requires that the caller has the only handle. `self` is it, and there is
        // one handle of a thread.
        let ended = unsafe { self.core().stop(Limit::Killed) };
        self.exit(ended)
    }

    /// Stops the thread like [`Thread::stop_killable`], but waits for at most `time`, which is
    /// rounded up to whole jiffies.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As for [`Thread::stop_killable`], and [`ETIMEDOUT`] if the body has not returned within
    /// `time`.
    pub fn stop_timeout(self, time: Delta) -> Result<Exit<R>, Refused<Self>> {
        // SAFETY: `stop()` requires that the caller has the only handle. `self` is it, and there is
        // one handle of a thread.
        let ended = unsafe { self.core().stop(Limit::killed_or_after(time)) };
        self.exit(ended)
    }

    fn join_within(self, limit: Limit) -> Result<R, Refused<Self>> {
        // SAFETY: `join()` requires that the caller has the only handle. `self` is it, and there is
        // one handle of a thread.
        let _entered = match unsafe { self.core().join(limit) } {
            Ok(entered) => entered,
            Err(error) => return Err(Refused::new(self, error)),
        };
        // SAFETY: `take_result()` requires the core of a `WithResult<R>`, which it is by the type's
        // invariants.
        match unsafe { take_result(self.core().this) } {
            Exit::Returned(result) => Ok(result),
            Exit::NeverRan | Exit::Died => Err(Refused::new(self, ENODEV)),
        }
    }

    /// Waits until the thread has ended by itself, and returns its result. If the thread is parked,
    /// it is unparked.
    ///
    /// # Context
    ///
    /// Process context; sleeps uninterruptibly, for as long as the body takes.
    ///
    /// # Errors
    ///
    /// The error returns the handle, with
    ///
    /// * [`EDEADLK`] if this is called inside the thread, inside a thread that it waits for, or in
    ///   an interrupt;
    /// * [`EINTR`] if the caller is a thread or a work that was requested to stop, and the wait has
    ///   lasted for a second: the task that stops the caller may have to stop this thread later;
    /// * [`ENODEV`] if module teardown has ended the thread and has dropped the body or the result,
    ///   or if the body has panicked.
    pub fn join(self) -> Result<R, Refused<Self>> {
        self.join_within(Limit::None)
    }

    /// Joins the thread like [`Thread::join`], but a fatal signal ends the wait. For a task that
    /// acts on behalf of a user.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As for [`Thread::join`], and [`EINTR`] if the current task was killed, is exiting, or is a
    /// thread that is requested to stop.
    pub fn join_killable(self) -> Result<R, Refused<Self>> {
        self.join_within(Limit::Killed)
    }

    /// Joins the thread like [`Thread::join_killable`], but waits for at most `time`, which is
    /// rounded up to whole jiffies.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As for [`Thread::join_killable`], and [`ETIMEDOUT`] if the body has not returned within
    /// `time`.
    pub fn join_timeout(self, time: Delta) -> Result<R, Refused<Self>> {
        self.join_within(Limit::killed_or_after(time))
    }

    /// Joins the thread like [`Thread::join`], if its body has returned. Does not wait for the
    /// body.
    ///
    /// # Context
    ///
    /// Process context; may sleep for a short time.
    ///
    /// # Errors
    ///
    /// As for [`Thread::join`], and [`EAGAIN`] if the body has not returned.
    pub fn try_join(self) -> Result<R, Refused<Self>> {
        if !self.core().is_over() {
            return Err(Refused::new(self, EAGAIN));
        }
        self.join()
    }

    /// Detaches the thread. The thread keeps its module loaded until it has left the text of the
    /// module. If the thread is parked, it is unparked.
    ///
    /// The thread drops its result. If the init of its module fails, module teardown requests the
    /// thread to stop and waits for it.
    ///
    /// # Context
    ///
    /// Process context. If the body has just returned, sleeps until the thread has ended.
    ///
    /// # Errors
    ///
    /// The error returns the handle, with [`ENODEV`] if the module is being removed or the body has
    /// panicked, and with [`EDEADLK`] in an interrupt.
    pub fn detach(mut self) -> Result<(), Refused<Self>> {
        if !may_sleep() {
            return Err(Refused::new(self, EDEADLK));
        }
        // A thread that teardown of the module has cancelled before its start, or that has
        // panicked, would not drop the pin.
        if self.core().start.is_given_up() || self.core().has_died() {
            return Err(Refused::new(self, ENODEV));
        }
        let owner = self.core().attachment.owner();
        if let Err(error) = owner.pin() {
            return Err(Refused::new(self, error));
        }
        if !self.core().attachment.make_independent() {
            // SAFETY: `unpin()` requires a pin that is ours. It was taken above and is not passed
            // to the thread. The text of this function is kept mapped by the means that kept it
            // mapped before the pin was taken.
            unsafe { owner.unpin() };
            return Err(Refused::new(self, ENODEV));
        }
        self.core().unpark();
        if !self.core().stage.detach() {
            // The body has returned, so that the thread is not aware that it was detached.
            //
            // SAFETY: `remove()` requires an independent attachment, once. It was made independent
            // above, and the thread removes it only if `detach()` has succeeded.
            unsafe { self.core().attachment.remove() };
            // SAFETY: `reap()` requires that the thread was taken off the list, is reaped once, and
            // that a reference is held. It was just taken off, the pin keeps the owner's text
            // mapped, and the handle has a reference.
            unsafe { self.core().reap() };
            // SAFETY: `take_result()` requires the core of a `WithResult<R>`, which it is by the
            // type's invariants.
            drop(unsafe { take_result::<R>(self.core().this) });
            // SAFETY: `put()` requires a reference that is ours. `remove()` has passed the list's
            // reference to us, and the handle's own reference keeps the core valid.
            unsafe { Core::put(self.core().this) };
            // SAFETY: `unpin()` requires a pin that is ours. It was taken above and is not passed
            // to the thread. The text of this function is kept mapped by the means that kept it
            // mapped before the pin was taken.
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
        // SAFETY: `abandon()` requires that the caller has the only handle. `self` is it, and is
        // dropped.
        if let Some(_entered) = unsafe { core.abandon() } {
            // SAFETY: `take_result()` requires the core of a `WithResult<R>`, which it is by the
            // type's invariants.
            drop(unsafe { take_result::<R>(core.this) });
        }
    }
}
