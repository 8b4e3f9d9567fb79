// SPDX-License-Identifier: GPL-2.0

//! Closures that return a result to the task that has added them.

use super::{
    closure::{
        add_callback,
        Callback,
        PendingHead, //
    },
    state::WaitLimit,
    Cancel,
    Context,
    NotifyMode, //
};
use crate::{
    alloc::Flags,
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        SpinLock, //
    },
    task::Task,
    tether::{
        as_jiffies,
        in_task,
        Refused, //
    },
    time::{
        Delta,
        Jiffies, //
    }, //
};

/// A result, once it is there.
struct Value<R>(Option<R>);

// The result is only moved, and never pinned.
impl<R> Unpin for Value<R> {}

/// The place of a result.
#[pin_data]
struct Slot<R> {
    #[pin]
    result: SpinLock<Value<R>>,
}

/// A closure with the place for its result.
struct Caller<F, R> {
    func: F,
    slot: Arc<Slot<R>>,
}

impl<F, R> Callback for Caller<F, R>
where
    F: FnOnce(&Context<'_>) -> R + Send + 'static,
    R: Send + 'static,
{
    fn call(self, context: &Context<'_>) {
        let result = (self.func)(context);
        self.slot.result.lock().0 = Some(result);
    }
}

/// A closure that was added to a task, and will return an `R`.
///
/// The closure runs even if this handle is dropped or leaked; its result is dropped then.
pub struct Call<R> {
    pending: PendingHead,
    slot: Arc<Slot<R>>,
}

impl<R: Send + 'static> Call<R> {
    /// Returns whether the closure has returned, or was dropped by teardown of its module.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn is_done(&self) -> bool {
        !self.pending.node().state.load().is_busy()
    }

    /// Waits until the closure has run, and returns its result.
    ///
    /// # Context
    ///
    /// Process context. Sleeps, interruptibly. Fails in an interrupt.
    ///
    /// # Errors
    ///
    /// The error returns the handle, with
    ///
    /// * [`ERESTARTSYS`] if a signal is pending;
    /// * [`ECANCELED`] if teardown of the module has dropped the closure;
    /// * [`EDEADLK`] in an interrupt; otherwise as for [`Pending::wait`](super::Pending::wait).
    pub fn wait(self) -> Result<R, Refused<Self>> {
        self.wait_within(WaitLimit::signal(Jiffies::MAX))
    }

    /// Waits like [`Call::wait`], but for at most `time`, which is rounded up to whole ticks.
    ///
    /// # Context
    ///
    /// Process context. Sleeps, interruptibly. Fails in an interrupt.
    ///
    /// # Errors
    ///
    /// As for [`Call::wait`], and [`ETIMEDOUT`] if `time` has passed.
    pub fn wait_timeout(self, time: Delta) -> Result<R, Refused<Self>> {
        self.wait_within(WaitLimit::signal(as_jiffies(time)))
    }

    /// Waits like [`Call::wait`], but only a fatal signal ends the wait.
    ///
    /// # Context
    ///
    /// Process context. Sleeps, killably. Fails in an interrupt.
    ///
    /// # Errors
    ///
    /// As for [`Call::wait`], but [`EINTR`] if the current task is being killed, or is a kernel
    /// thread that is asked to stop.
    pub fn wait_killable(self) -> Result<R, Refused<Self>> {
        self.wait_within(WaitLimit::kill(Jiffies::MAX))
    }

    fn wait_within(self, limit: WaitLimit) -> Result<R, Refused<Self>> {
        // The interrupted task may hold the lock of the result.
        if !in_task() {
            return Err(Refused::new(self, EDEADLK));
        }
        if let Err(error) = self.pending.node().state.wait(limit) {
            return Err(Refused::new(self, error));
        }
        let result = self.slot.result.lock().0.take();
        result.ok_or_else(|| Refused::new(self, ECANCELED))
    }

    /// Drops the closure, if it has not begun to run. Never returns [`Cancel::NotQueued`].
    ///
    /// # Context
    ///
    /// Any context but NMI in which the closure may be dropped. Does not sleep.
    #[doc(alias = "task_work_cancel")]
    pub fn cancel(self) -> Cancel<()> {
        if self.pending.cancel() {
            Cancel::Cancelled(())
        } else {
            Cancel::TooLate
        }
    }
}

/// Adds a closure to `task`, which will call it, and keeps the result for the caller.
///
/// ```
/// use kernel::{
///     prelude::*,
///     task::Task,
///     task_work::{
///         self,
///         NotifyMode, //
///     }, //
/// };
///
/// /// Returns the pid that a task has in the pid namespace of its own process.
/// fn pid_inside(task: &Task) -> Result<i32> {
///     let call = task_work::call(task, |it| it.task().pid(), NotifyMode::Signal, GFP_KERNEL)?;
///     Ok(call.wait_killable()?)
/// }
/// # let _ = pid_inside;
/// # Ok::<(), Error>(())
/// ```
///
/// # Context
///
/// Any context but NMI in which an allocation with `flags` is allowed.
///
/// # Errors
///
/// As for [`add_fn`](super::add_fn); the error returns the closure.
pub fn call<F, R>(
    task: &Task,
    func: F,
    mode: NotifyMode,
    flags: Flags,
) -> Result<Call<R>, Refused<F>>
where
    F: FnOnce(&Context<'_>) -> R + Send + 'static,
    R: Send + 'static,
{
    let slot = pin_init!(Slot {
        result <- new_spinlock!(Value(None), "tether::task_work::Slot::result"),
    });
    let Ok(slot) = Arc::pin_init(slot, flags) else {
        return Err(Refused::new(func, ENOMEM));
    };
    let caller = Caller {
        func,
        slot: slot.clone(),
    };
    match add_callback(task, caller, mode, flags) {
        Ok(pending) => Ok(Call {
            pending: pending.into(),
            slot,
        }),
        Err(refused) => Err(refused.map(|caller| caller.func)),
    }
}
