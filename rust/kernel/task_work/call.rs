// SPDX-License-Identifier: GPL-2.0

//! Closures that run in another task, and return a result to the task that has added them.
//!
//! The result may refer to the module of the closure, and the handle may belong to another module.
//! Hence the place of the result is attached to the module of the closure: its teardown drops the
//! result.

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
    alloc::{
        flags::__GFP_NOWARN,
        Flags, //
    },
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        SpinLock, //
    },
    task::Task,
    tether::{
        as_jiffies,
        may_lock,
        Attachment,
        AttachmentOps,
        Owner,
        Refused, //
    },
    time::{
        Delta,
        Jiffies, //
    }, //
};
use core::{
    any::type_name,
    mem, //
};

/// A result.
enum Value<R> {
    /// The closure has not returned.
    Pending,
    Returned(R),
    /// No other task takes the result: the handle was dropped, or the module was torn down.
    Closed,
}

// The result is only moved, and never pinned.
impl<R> Unpin for Value<R> {}

/// The place of a result.
///
/// # Invariants
///
/// * While `attachment` is attached, its owner's list holds a reference to the slot.
/// * After `attachment` was detached or torn down, and the task that has done so has returned,
///   `result` is [`Value::Closed`].
#[pin_data]
#[repr(C)]
struct Slot<R> {
    #[pin]
    attachment: Attachment,
    #[pin]
    result: SpinLock<Value<R>>,
}

impl<R: Send + 'static> Slot<R> {
    const ATTACHMENT_OPS: AttachmentOps = AttachmentOps {
        kind: "result of a call",
        name: type_name::<R>,
        request: None,
        end: Self::end,
        discard: Some(Self::discard),
        release: Some(Self::release),
    };

    /// Stores the result, or drops it if no other task takes it.
    fn store(&self, result: R) {
        let mut value = self.result.lock();
        if let Value::Pending = *value {
            *value = Value::Returned(result);
        } else {
            // The destructor of the result must not run under the lock.
            drop(value);
            drop(result);
        }
    }

    /// Takes the result, if there is one. A result that comes later is dropped.
    fn close(&self) -> Option<R> {
        match mem::replace(&mut *self.result.lock(), Value::Closed) {
            Value::Returned(result) => Some(result),
            Value::Pending | Value::Closed => None,
        }
    }

    /// Takes the result of an attached slot, detaches the slot, and drops the list's reference.
    /// `found` is called with the result while the module of the closure is loaded.
    ///
    /// Returns `None` if teardown of that module drops the result, or has dropped it.
    fn detach<T>(&self, found: impl FnOnce(Option<R>) -> T) -> Option<T> {
        let entered = self.attachment.try_detach()?;
        let found = found(self.close());
        // SAFETY: `release()` requires that the list's reference is ours. `try_detach()` has passed
        // it to us. The caller's reference keeps the slot valid.
        unsafe { Self::release(&self.attachment) };
        drop(entered);
        Some(found)
    }

    /// The result stays until [`Slot::discard`], because its destructor must not run here.
    ///
    /// # Safety
    ///
    /// The requirements are those of [`AttachmentOps::end`].
    unsafe fn end(_attachment: *const Attachment) {}

    /// Drops the result.
    ///
    /// # Safety
    ///
    /// The attachment must be that of a valid `Slot<R>`.
    unsafe fn discard(attachment: *const Attachment) {
        // SAFETY: By the function's contract the attachment is at the beginning of a `Slot<R>`.
        let slot = unsafe { &*attachment.cast::<Self>() };
        drop(slot.close());
    }

    /// Drops the list's reference.
    ///
    /// # Safety
    ///
    /// The attachment must be that of a `Slot<R>`, and the list's reference must be the caller's.
    unsafe fn release(attachment: *const Attachment) {
        // SAFETY: `from_raw()` requires a pointer from `into_raw()` and a reference that is ours.
        // `call()` has stored the reference by `into_raw()` of the slot, which begins with the
        // attachment. It is the caller's by the function's contract.
        drop(unsafe { Arc::from_raw(attachment.cast::<Self>()) });
    }
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
        self.slot.store((self.func)(context));
    }
}

/// A closure that was added to a task, and will return an `R`.
///
/// The closure runs even if this handle is dropped or leaked. Dropping the handle drops the result.
/// If the handle is leaked, or dropped in an interrupt or with interrupts disabled, teardown of the
/// module drops the result.
pub struct Call<R: Send + 'static> {
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
    /// * [`ECANCELED`] if teardown of the module has dropped the closure, and [`ENODEV`] if it has
    ///   dropped the result, or is about to;
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
    /// thread that is requested to stop.
    pub fn wait_killable(self) -> Result<R, Refused<Self>> {
        self.wait_within(WaitLimit::kill(Jiffies::MAX))
    }

    fn wait_within(self, limit: WaitLimit) -> Result<R, Refused<Self>> {
        // The interrupted task may hold the lock of the result.
        if !may_lock() {
            return Err(Refused::new(self, EDEADLK));
        }
        if let Err(error) = self.pending.node().state.wait(limit) {
            return Err(Refused::new(self, error));
        }
        match self.slot.detach(|result| result) {
            Some(Some(result)) => Ok(result),
            Some(None) => Err(Refused::new(self, ECANCELED)),
            None => Err(Refused::new(self, ENODEV)),
        }
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

impl<R: Send + 'static> Drop for Call<R> {
    fn drop(&mut self) {
        // Interrupts must not take the lock of the list of attachments.
        if may_lock() {
            // Drops the result while its module is loaded.
            self.slot.detach(drop);
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
/// Process context in which an allocation with `flags` is allowed. Fails in an interrupt.
///
/// # Errors
///
/// The error returns the closure, with
///
/// * [`EDEADLK`] in an interrupt, or with interrupts disabled;
/// * [`ENODEV`] if the module is being unloaded; otherwise as for [`add_fn`](super::add_fn).
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
    if !may_lock() {
        return Err(Refused::new(func, EDEADLK));
    }
    let owner = match Owner::of(Slot::<R>::discard as *const ()) {
        Ok(owner) => owner,
        Err(error) => return Err(Refused::new(func, error)),
    };
    // INVARIANT: The slot is not attached, and not detached.
    let slot = pin_init!(Slot {
        attachment <- Attachment::new(owner, &Slot::<R>::ATTACHMENT_OPS),
        result <- new_spinlock!(Value::Pending, "tether::task_work::Slot::result"),
    });
    // The result may be too large for any allocation.
    let Ok(slot) = Arc::pin_init(slot, flags | __GFP_NOWARN) else {
        return Err(Refused::new(func, ENOMEM));
    };
    let listed = Arc::into_raw(slot.clone());
    let add = |func| {
        let slot = slot.clone();
        add_callback(task, Caller { func, slot }, mode, flags)
            .map_err(|refused| refused.map(|caller| caller.func))
    };
    // INVARIANT: `listed` is the list's reference.
    //
    // SAFETY: `attach_with()` requires that the attachment stays valid and pinned until it was
    // detached, or until the list's reference was dropped. `listed` is this reference, and an `Arc`
    // does not move its value.
    match unsafe { slot.attachment.attach_with(func, add) } {
        Ok(pending) => Ok(Call {
            pending: pending.into(),
            slot,
        }),
        Err(refused) => {
            // SAFETY: `from_raw()` requires a pointer from `into_raw()` and a reference that is
            // ours. `listed` is one, and the list has no reference, because attaching has failed.
            drop(unsafe { Arc::from_raw(listed) });
            Err(refused)
        }
    }
}
