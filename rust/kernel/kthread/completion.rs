// SPDX-License-Identifier: GPL-2.0

//! A completion with waits that a fatal signal or a time limit can end.
//!
//! [`sync::Completion`](crate::sync::Completion) waits uninterruptibly and without a limit.
//!
//! C header: [`include/linux/completion.h`](srctree/include/linux/completion.h)

use super::current_is_asked;
use crate::{
    bindings,
    prelude::*,
    task::Task,
    tether::{
        as_jiffies,
        current_is_kernel_thread,
        is_exiting,
        is_short,
        jiffies, //
    },
    time::{
        msecs_to_jiffies,
        Delta,
        Jiffies, //
    },
    types::Opaque, //
};

/// The events that end a wait before the completion.
#[derive(Clone, Copy)]
pub(super) enum Limit {
    /// No other event.
    None,
    /// This time, in jiffies.
    After(Jiffies),
    /// A fatal signal.
    Killed,
    /// A fatal signal, or this time, in jiffies.
    KilledOrAfter(Jiffies),
}

impl Limit {
    /// Returns a limit of `time`, which is rounded up to whole jiffies, that a fatal signal ends as
    /// well.
    pub(super) fn killed_or_after(time: Delta) -> Self {
        Self::KilledOrAfter(as_jiffies(time))
    }

    /// Returns whether the wait ends by itself within a minute. A longer wait is treated like a
    /// wait without a limit.
    pub(super) fn is_timed(self) -> bool {
        match self {
            Self::After(time) | Self::KilledOrAfter(time) => is_short(time),
            Self::None | Self::Killed => false,
        }
    }

    /// Waits by `wait`, in steps of a second, until the event has happened or this limit ends the
    /// wait. After each step `step` is called, and ends the wait if it returns a result.
    ///
    /// # Errors
    ///
    /// As [`Completion::wait`], and those of `step`.
    pub(super) fn in_steps(
        self,
        wait: impl Fn(Limit) -> Result,
        step: impl Fn() -> Option<Result>,
    ) -> Result {
        if self.cannot_be_killed() {
            return wait(self);
        }
        let second = msecs_to_jiffies(1000);
        let (killable, mut left) = match self {
            Limit::None => (false, None),
            Limit::Killed => (true, None),
            Limit::After(time) => (false, Some(time)),
            Limit::KilledOrAfter(time) => (true, Some(time)),
        };
        loop {
            let time = left.map_or(second, |left| left.min(second));
            let waited = wait(if killable {
                Limit::KilledOrAfter(time)
            } else {
                Limit::After(time)
            });
            match waited {
                Err(error) if error == ETIMEDOUT => {}
                waited => return waited,
            }
            if let Some(result) = step() {
                return result;
            }
            if let Some(left) = &mut left {
                *left -= time;
                if *left == 0 {
                    return Err(ETIMEDOUT);
                }
            }
        }
    }

    /// Returns [`EINTR`] if a wait without a limit, which has lasted for a second, must not go on
    /// because the current thread is requested to stop. The task that stops the thread waits for
    /// it, and may have to end the event's cause only afterwards.
    pub(super) fn may_go_on(self) -> Result {
        if matches!(self, Limit::None) && current_is_asked() {
            return Err(EINTR);
        }
        Ok(())
    }

    /// Sleeps killably for a tick, if the wait that began at `begun`, in jiffies, may go on. For
    /// events without a [`Completion`].
    ///
    /// # Errors
    ///
    /// As for [`Completion::wait`].
    pub(super) fn pause(self, begun: Jiffies) -> Result {
        if self.cannot_be_killed() {
            return Err(EINTR);
        }
        if let Self::KilledOrAfter(time) = self {
            if jiffies().wrapping_sub(begun) >= time {
                return Err(ETIMEDOUT);
            }
        }
        if matches!(self, Self::None) {
            // SAFETY: The caller may sleep.
            unsafe { bindings::schedule_timeout_uninterruptible(1) };
            return Ok(());
        }
        let task = Task::current_raw();
        let ended = if current_is_kernel_thread() {
            // SAFETY: `schedule_timeout_interruptible()` requires a context that may sleep, which
            // the callers have tested by `wait_for()`.
            unsafe { bindings::schedule_timeout_interruptible(1) };
            // SAFETY: `signal_pending()` requires a valid task, which the current task is.
            unsafe { bindings::signal_pending(task) }
        } else {
            // SAFETY: `schedule_timeout_killable()` requires a context that may sleep, which the
            // callers have tested by `wait_for()`.
            unsafe { bindings::schedule_timeout_killable(1) };
            // SAFETY: `fatal_signal_pending()` requires a valid task, which the current task is.
            unsafe { bindings::fatal_signal_pending(task) }
        };
        if ended != 0 {
            return Err(EINTR);
        }
        Ok(())
    }

    /// Returns whether the limit relies on a fatal signal that cannot arrive, because an exiting
    /// task receives no signals.
    pub(super) fn cannot_be_killed(self) -> bool {
        matches!(self, Self::Killed | Self::KilledOrAfter(_)) && !self.is_timed() && is_exiting()
    }
}

/// An event that is waited for.
///
/// # Invariants
///
/// `inner` is an initialised `struct completion`.
#[pin_data]
#[repr(transparent)]
pub(super) struct Completion {
    #[pin]
    inner: Opaque<bindings::completion>,
}

// SAFETY: A completion has a lock of its own, and may be used and freed by any task.
unsafe impl Send for Completion {}
// SAFETY: All methods take a shared reference, and the completion's own lock serialises them.
unsafe impl Sync for Completion {}

impl Completion {
    /// Creates an event that has not happened.
    pub(super) fn new() -> impl PinInit<Self> {
        // INVARIANT: `init_completion()` initialises the completion.
        pin_init!(Self {
            inner <- Opaque::ffi_init(|slot: *mut bindings::completion| {
                // SAFETY: `init_completion()` requires memory for a completion that does not move.
                // `slot` is valid for writes and pinned.
                unsafe { bindings::init_completion(slot) };
            }),
        })
    }

    /// Wakes one waiter, or lets the next one pass.
    pub(super) fn complete(&self) {
        // SAFETY: By the type's invariants the completion is initialised.
        unsafe { bindings::complete(self.inner.get()) };
    }

    /// Wakes all waiters, and lets later ones pass.
    pub(super) fn complete_all(&self) {
        // SAFETY: By the type's invariants the completion is initialised.
        unsafe { bindings::complete_all(self.inner.get()) };
    }

    /// Returns whether [`Completion::complete_all`] was called, or a [`Completion::complete`] was
    /// not consumed by a waiter.
    pub(super) fn is_done(&self) -> bool {
        // SAFETY: By the type's invariants the completion is initialised.
        unsafe { bindings::completion_done(self.inner.get()) }
    }

    /// Waits for the event.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if the current task was killed or is exiting, or is a kernel thread that is
    /// requested to stop; [`ETIMEDOUT`] if the time has passed. `limit` selects which of these
    /// apply.
    pub(super) fn wait(&self, limit: Limit) -> Result {
        let inner = self.inner.get();
        if limit.cannot_be_killed() {
            // SAFETY: By the type's invariants the completion is initialised.
            let done = unsafe { bindings::try_wait_for_completion(inner) };
            return if done { Ok(()) } else { Err(EINTR) };
        }
        match limit {
            Limit::None => {
                // SAFETY: By the type's invariants the completion is initialised.
                unsafe { bindings::wait_for_completion(inner) };
                Ok(())
            }
            Limit::After(jiffies) => {
                // SAFETY: By the type's invariants the completion is initialised.
                match unsafe { bindings::wait_for_completion_timeout(inner, jiffies) } {
                    0 => Err(ETIMEDOUT),
                    _ => Ok(()),
                }
            }
            Limit::Killed => {
                let ret = if current_is_kernel_thread() {
                    // SAFETY: By the type's invariants the completion is initialised.
                    unsafe { bindings::wait_for_completion_interruptible(inner) }
                } else {
                    // SAFETY: By the type's invariants the completion is initialised.
                    unsafe { bindings::wait_for_completion_killable(inner) }
                };
                if ret == 0 {
                    Ok(())
                } else {
                    Err(EINTR)
                }
            }
            Limit::KilledOrAfter(jiffies) => {
                let jiffies = jiffies.min(c_long::MAX as Jiffies);
                let left = if current_is_kernel_thread() {
                    // SAFETY: By the type's invariants the completion is initialised.
                    unsafe { bindings::wait_for_completion_interruptible_timeout(inner, jiffies) }
                } else {
                    // SAFETY: By the type's invariants the completion is initialised.
                    unsafe { bindings::wait_for_completion_killable_timeout(inner, jiffies) }
                };
                match left {
                    0 => Err(ETIMEDOUT),
                    left if left < 0 => Err(EINTR),
                    _ => Ok(()),
                }
            }
        }
    }
}
