// SPDX-License-Identifier: GPL-2.0

//! Stopping and joining a thread, and teardown of a thread with a leaked handle.

use super::{
    completion::Limit,
    interrupt::interrupt,
    thread_core::Core,
    waits, //
};
use crate::{
    bindings,
    prelude::*,
    sync::{
        atomic::Full,
        barrier::{
            smp_mb,
            Read, //
        }, //
    },
    task::Task,
    tether::{
        may_sleep,
        task_flags,
        Attachment,
        OwnerGuard, //
    },
    time::msecs_to_jiffies, //
};
use core::ptr;

impl Core {
    /// Requests a thread to end. An unstarted thread is cancelled before its start.
    ///
    /// # Safety
    ///
    /// The requirements are those of [`AttachmentOps::request`].
    pub(super) unsafe fn request_end(attachment: *const Attachment) {
        // SAFETY: The attachment is at the beginning of a `Core`, which is valid during this call
        // by the requirements of [`AttachmentOps::request`].
        let core = unsafe { &*attachment.cast::<Core>() };
        let asked = core.should_stop.xchg(true, Full);
        if core.start.never() {
            // A thread that joins this one may have to return before this thread is torn down.
            core.returned.complete_all();
        } else if !asked {
            core.request_stop();
        }
    }

    /// Waits until the thread has left the module's text and Tether's text. If the thread has not
    /// begun, returns true and does not drop the body.
    ///
    /// # Safety
    ///
    /// The caller must have taken the thread off its owner's list, must keep the owner's text
    /// mapped, and must call this once, because `kthread_stop()` may be called once. The caller or
    /// the list must hold a reference during the call.
    pub(super) unsafe fn reap(&self) -> bool {
        // SAFETY: `kthread_stop()` requires a kernel thread that is valid and is stopped once. The
        // core holds a reference to the task, and by the function's contract no other task stops
        // it.
        unsafe { bindings::kthread_stop(self.task().as_ptr()) };
        if self.start.has_begun() {
            return false;
        }
        self.returned.complete_all();
        // SAFETY: `put()` requires a reference that is ours. The thread has ended without dropping
        // its reference, and another reference keeps the core valid.
        unsafe { Self::put(self.this) };
        true
    }

    /// Drops the body or the result, if the payload is not empty.
    ///
    /// # Safety
    ///
    /// The module of the body must be loaded. The thread must have ended, or the caller must be the
    /// thread, after its body has returned.
    pub(super) unsafe fn discard_payload(&self) {
        // SAFETY: `discard` is that of the `Inner` that contains this core, by the type's
        // invariants. Its other requirement, that the thread has ended or has returned from its
        // body, is in the function's contract.
        unsafe { (self.discard)(self.this) };
    }

    /// Tears down a thread that teardown of its owner has found.
    ///
    /// # Safety
    ///
    /// The requirements are those of [`AttachmentOps::end`].
    pub(super) unsafe fn end(attachment: *const Attachment) {
        // SAFETY: `request_end()` requires a valid attachment that has not ended, which
        // [`AttachmentOps::end`] requires as well. It may be called more than once.
        unsafe { Self::request_end(attachment) };
        // SAFETY: The attachment is at the beginning of a `Core`, which the list's reference keeps
        // valid until `release()`.
        let core = unsafe { &*attachment.cast::<Core>() };
        if !core.start.never() {
            // The thread was started, so that it calls its body: `kthread_stop()` is called only
            // afterwards.
            while core
                .returned
                .wait(Limit::After(msecs_to_jiffies(10_000)))
                .is_err()
            {
                core.interrupt_again();
                core.attachment.owner().interrupt();
                // SAFETY: The owner's end has just found it: the module is still there.
                let name = unsafe { core.attachment.name() };
                pr_warn!(
                    "thread {} ({name}) ignores the stop request: its module cannot be removed\n",
                    core.task().pid()
                );
            }
        }
        // SAFETY: `reap()` requires that the thread was taken off the list, is reaped once, and
        // that a reference is held. Teardown has taken it off the list, keeps the text mapped, and
        // has the list's reference.
        unsafe { core.reap() };
    }

    /// Drops the payload of a thread after its end was published.
    ///
    /// # Safety
    ///
    /// The requirements are those of [`AttachmentOps::discard`].
    pub(super) unsafe fn discard_ended(attachment: *const Attachment) {
        // SAFETY: The attachment is at the beginning of a `Core`, which the list's reference keeps
        // valid until `release()`.
        let core = unsafe { &*attachment.cast::<Core>() };
        // SAFETY: `discard_payload()` requires that the thread has ended and that the module is
        // loaded. `end()` has returned, and teardown keeps the module loaded.
        unsafe { core.discard_payload() };
    }

    /// Drops the list's reference.
    /// # Safety
    ///
    /// The requirements are those of [`AttachmentOps::release`].
    pub(super) unsafe fn release(attachment: *const Attachment) {
        // SAFETY: `put()` requires a reference that is ours. By the function's contract the list's
        // reference is; the attachment is at the beginning of the `Core` that it keeps valid.
        unsafe { Core::put((*attachment.cast::<Core>()).this) };
    }

    /// Ends the thread. If the body was not called, drops it. The returned guard keeps the text of
    /// the module mapped, in which the result is dropped.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if teardown of the owner has ended the thread and has dropped the body or the
    /// result.
    ///
    /// # Safety
    ///
    /// The caller must have the only handle, and must not be the thread itself.
    unsafe fn finish(&self) -> Result<OwnerGuard> {
        let entered = self.attachment.detach().ok_or(ENODEV)?;
        self.should_stop.xchg(true, Full);
        self.start.never();
        self.unpark_to_stop();
        // SAFETY: `reap()` requires that the thread was taken off the list, is reaped once, and
        // that a reference is held. `detach()` has taken it off, `entered` keeps the text mapped,
        // and the handle has a reference.
        if unsafe { self.reap() } {
            // SAFETY: `discard_payload()` requires that the thread has ended and that the module is
            // loaded. `reap()` has returned, and `entered` keeps the module loaded.
            unsafe { self.discard_payload() };
        }
        // SAFETY: `put()` requires a reference that is ours. `detach()` has passed the list's
        // reference to us, and the handle's own reference keeps the core valid.
        unsafe { Self::put(self.this) };
        Ok(entered)
    }

    /// Returns whether the body has returned or will not be called.
    pub(super) fn is_over(&self) -> bool {
        self.stage.has_returned() || self.returned.is_done()
    }

    /// Records that the current thread waits for this thread. Does not record it if the body has
    /// returned, because the thread does not wait for any other thread afterwards.
    fn wait_for(&self, limit: Limit) -> Result<Option<waits::Waiting<'_>>> {
        if self.stage.has_returned() && may_sleep() {
            return Ok(None);
        }
        self.waits.wait_for(limit).map(Some)
    }

    /// Waits until the body has returned, or has panicked. `is_asked` is whether the caller has
    /// requested the thread to stop.
    ///
    /// # Errors
    ///
    /// [`EINTR`] and [`ETIMEDOUT`] as `limit` says; [`EINTR`] as [`Limit::may_go_on`], unless
    /// `is_asked`.
    fn wait_until_returned(&self, limit: Limit, is_asked: bool) -> Result {
        limit.in_steps(
            |limit| self.returned.wait(limit),
            || {
                if self.is_exiting() {
                    // The body has panicked.
                    return Some(Ok(()));
                }
                self.interrupt_again();
                self.attachment.owner().request_all_in_exit();
                if is_asked {
                    return None;
                }
                limit.may_go_on().err().map(Err)
            },
        )
    }

    /// Returns whether the body has panicked.
    pub(super) fn has_died(&self) -> bool {
        if !self.is_exiting() {
            return false;
        }
        // Read the flag before the stage, which a thread sets before it exits if its body returns.
        smp_mb(Read);
        !self.stage.has_returned()
    }

    /// Waits until the thread has answered a request to park.
    ///
    /// # Errors
    ///
    /// [`EINTR`] and [`ETIMEDOUT`] as `limit` says, and [`EINTR`] as [`Limit::may_go_on`].
    pub(super) fn wait_for_answer(&self, limit: Limit) -> Result {
        limit.in_steps(
            |limit| self.parking.answered.wait(limit),
            || {
                self.attachment.owner().request_all_in_exit();
                limit.may_go_on().err().map(Err)
            },
        )
    }

    /// Returns whether the thread is exiting.
    fn is_exiting(&self) -> bool {
        task_flags(self.task()) & bindings::PF_EXITING != 0
    }

    /// Interrupts the thread again if it is requested to stop: the first request may have been made
    /// in a context in which no signal can be sent.
    fn interrupt_again(&self) {
        if self.should_stop() {
            interrupt(self.task());
        }
    }

    /// Stops the thread, and waits until it has ended.
    ///
    /// # Errors
    ///
    /// * [`EDEADLK`] if the thread waits for the current thread or is the current thread, and in an
    ///   interrupt;
    /// * [`ENODEV`] as for [`Core::finish`];
    /// * [`EINTR`] and [`ETIMEDOUT`] according to `limit`. In these two cases the thread has been
    ///   requested to stop.
    ///
    /// # Safety
    ///
    /// The caller must have the only handle.
    pub(super) unsafe fn stop(&self, limit: Limit) -> Result<OwnerGuard> {
        let _waiting = self.wait_for(limit)?;
        self.request_stop();
        // In the exit of the module, the thread may wait for a worker that is dropped later.
        // Otherwise `kthread_stop()` is sufficient. If the thread was not started, its body will
        // not return.
        let plain = matches!(limit, Limit::None) && !self.attachment.owner().is_in_exit();
        if !plain && !self.start.never() {
            self.wait_until_returned(limit, true)?;
        }
        // SAFETY: `finish()` requires that the caller has the only handle, which is in the
        // function's contract, and is not the thread itself, which `wait_for()` has refused.
        unsafe { self.finish() }
    }

    /// Waits until the thread has ended.
    ///
    /// # Errors
    ///
    /// As for [`Core::stop`], but the thread is not requested to stop.
    ///
    /// # Safety
    ///
    /// The caller must have the only handle.
    pub(super) unsafe fn join(&self, limit: Limit) -> Result<OwnerGuard> {
        let _waiting = self.wait_for(limit)?;
        // No other task can unpark the thread, because the caller has the only handle.
        self.unpark();
        self.wait_until_returned(limit, false)?;
        // SAFETY: By the function's contract; it is not the thread itself, which is refused above.
        unsafe { self.finish() }
    }

    /// Stops a thread when its handle is dropped. If the result belongs to the caller, returns a
    /// guard that keeps the text of the module mapped until the result is dropped.
    ///
    /// # Safety
    ///
    /// The caller must have the only handle.
    pub(super) unsafe fn abandon(&self) -> Option<OwnerGuard> {
        // SAFETY: `stop()` requires that the caller has the only handle, which is in the function's
        // contract.
        match unsafe { self.stop(Limit::None) } {
            Err(error) if error == EDEADLK => {}
            // If module teardown has ended the thread, it drops the result as well.
            ended => return ended.ok(),
        }
        let is_current = ptr::eq(Task::current_raw(), self.task().as_ptr());
        if !is_current {
            self.request_stop();
        }
        if self.stage.orphan() || !may_sleep() {
            // In an interrupt, module teardown drops the result if the body has returned.
            return None;
        }
        // The body has returned since, so that the thread does not wait for any other thread.
        //
        // SAFETY: `finish()` requires that the caller has the only handle, which is in the
        // function's contract, and is not the thread itself: the body of the thread has returned,
        // and this is not its code.
        unsafe { self.finish() }.ok()
    }
}
