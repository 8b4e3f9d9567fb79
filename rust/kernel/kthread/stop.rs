// SPDX-License-Identifier: GPL-2.0

//! Stopping and joining a thread, and the end of a thread whose handle was leaked.

use super::{
    completion::Limit,
    thread_core::{
        Core,
        ATTACHED,
        ORPHANED,
        RETURNED, //
    },
    waits, //
};
use crate::{
    bindings,
    prelude::*,
    sync::atomic::{
        Acquire,
        Full, //
    },
    task::Task,
    tether::{
        may_sleep,
        task_flags,
        Attachment,
        Entered, //
    },
    time::msecs_to_jiffies, //
};
use core::ptr;

impl Core {
    /// Asks a thread to end: it will not begin if it has not been started.
    ///
    /// # Safety
    ///
    /// As [`What::request`] says.
    pub(super) unsafe fn request_end(attachment: *const Attachment) {
        // SAFETY: The attachment is at the beginning of a `Core`, which is valid for this call.
        let core = unsafe { &*attachment.cast::<Core>() };
        let asked = core.should_stop.xchg(true, Full);
        if core.start.never() {
            // A thread that joins this one may have to return before this one is ended.
            core.returned.complete_all();
        } else if !asked {
            core.request_stop();
        }
    }

    /// Waits until the thread is out of the module's text and of Tether's. If it has not begun, its
    /// body is left where it is, and true is returned.
    ///
    /// # Safety
    ///
    /// The caller must have taken the thread off its owner's list, whose text must stay, and call
    /// this once: the kernel's completion is used up by it. The caller or its owner's list has a
    /// reference.
    pub(super) unsafe fn reap(&self) -> bool {
        // SAFETY: The task is a kernel thread that we hold a reference to, and by the function's
        // contract no other task stops it.
        unsafe { bindings::kthread_stop(self.task().as_ptr()) };
        if self.start.has_begun() {
            return false;
        }
        self.returned.complete_all();
        // SAFETY: The thread has ended without dropping its reference, and the caller has another.
        unsafe { Self::put(self.this) };
        true
    }

    /// Drops the body or the result, if there is one.
    ///
    /// # Safety
    ///
    /// The module of the body must be there. The thread must have ended, or this is the thread,
    /// after its body has returned.
    pub(super) unsafe fn discard_payload(&self) {
        // SAFETY: By the type's invariants the function expects `this`; the rest is the function's
        // contract.
        unsafe { (self.discard)(self.this) };
    }

    /// The owner's end has found the thread.
    ///
    /// # Safety
    ///
    /// As [`What::end`] says.
    pub(super) unsafe fn end(attachment: *const Attachment) {
        // SAFETY: By the function's contract; the attachment may be asked to end more than once.
        unsafe { Self::request_end(attachment) };
        // SAFETY: The attachment is at the beginning of a `Core`, which is valid until `release`.
        let core = unsafe { &*attachment.cast::<Core>() };
        if !core.start.never() {
            // It was started, and so calls its body: `kthread_stop()` comes only afterwards.
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
                    "thread {} ({name}) ignores the request to stop: its module cannot go\n",
                    core.task().pid()
                );
            }
        }
        // SAFETY: The owner's end has taken it off the list, and has the list's reference.
        unsafe { core.reap() };
    }

    /// The owner's end has published that the thread has ended.
    ///
    /// # Safety
    ///
    /// As [`What::discard`] says.
    pub(super) unsafe fn discard_ended(attachment: *const Attachment) {
        // SAFETY: The attachment is at the beginning of a `Core`, which is valid until `release`.
        let core = unsafe { &*attachment.cast::<Core>() };
        // SAFETY: The thread has ended, and the owner's end keeps the module.
        unsafe { core.discard_payload() };
    }

    /// # Safety
    ///
    /// As [`What::release`] says.
    pub(super) unsafe fn release(attachment: *const Attachment) {
        // SAFETY: The attachment is at the beginning of a `Core`, and the list had a reference.
        unsafe { Core::put((*attachment.cast::<Core>()).this) };
    }

    /// Ends the thread, and drops a body that was not called. The text of the module, in which the
    /// result is dropped, stays until the returned value is dropped.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if its owner's end has ended it, and has dropped the body or the result.
    ///
    /// # Safety
    ///
    /// The handle must be the caller's alone. It must not be the thread itself.
    unsafe fn finish(&self) -> Result<Entered> {
        let entered = self.attachment.detach().ok_or(ENODEV)?;
        self.should_stop.xchg(true, Full);
        self.start.never();
        self.unpark();
        // SAFETY: We have just taken it off its owner's list; the handle has a reference.
        if unsafe { self.reap() } {
            // SAFETY: The thread has ended, and `entered` keeps the module.
            unsafe { self.discard_payload() };
        }
        // SAFETY: The list's reference is ours now, and the handle has its own.
        unsafe { Self::put(self.this) };
        Ok(entered)
    }

    /// Whether the body has returned, or will never be called.
    pub(super) fn is_over(&self) -> bool {
        self.stage.load(Acquire) == RETURNED || self.returned.is_done()
    }

    /// Enters that the current thread waits for this one; not if its body has returned, as the rest
    /// of it waits for nothing.
    fn wait_for(&self, limit: Limit) -> Result<Option<waits::Waiting<'_>>> {
        if self.stage.load(Acquire) == RETURNED && may_sleep() {
            return Ok(None);
        }
        self.waits.wait_for(limit).map(Some)
    }

    /// Waits until the body has returned, or has panicked. `is_asked` is whether the caller has
    /// asked the thread to stop.
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

    /// Whether the thread is in its exit.
    fn is_exiting(&self) -> bool {
        task_flags(self.task()) & bindings::PF_EXITING != 0
    }

    /// Interrupts the thread once more if it is asked to stop: where the first request was made, a
    /// signal may not have been possible.
    fn interrupt_again(&self) {
        if self.should_stop() {
            // SAFETY: The task is valid, and a kernel thread.
            unsafe { bindings::tether_kthread_interrupt(self.task().as_ptr()) };
        }
    }

    /// Stops the thread, and waits until it has ended.
    ///
    /// # Errors
    ///
    /// * [`EDEADLK`] if the thread waits for the current one, or is it, and in an interrupt;
    /// * [`ENODEV`] as [`Core::finish`];
    /// * [`EINTR`] and [`ETIMEDOUT`] as `limit` says. The thread is asked to stop then.
    ///
    /// # Safety
    ///
    /// The handle must be the caller's alone.
    pub(super) unsafe fn stop(&self, limit: Limit) -> Result<Entered> {
        let _waiting = self.wait_for(limit)?;
        self.request_stop();
        // In the exit of the module the thread may wait for a worker that is dropped later.
        // Otherwise `kthread_stop()` is enough. A thread that was not started has no body that returns.
        let plain = matches!(limit, Limit::None) && !self.attachment.owner().is_in_exit();
        if !plain && !self.start.never() {
            self.wait_until_returned(limit, true)?;
        }
        // SAFETY: By the function's contract; it is not the thread itself, which is refused above.
        unsafe { self.finish() }
    }

    /// Waits until the thread has ended.
    ///
    /// # Errors
    ///
    /// As [`Core::stop`], but the thread is not asked to stop.
    ///
    /// # Safety
    ///
    /// As [`Core::stop`].
    pub(super) unsafe fn join(&self, limit: Limit) -> Result<Entered> {
        let _waiting = self.wait_for(limit)?;
        // No other task could unpark it, as the handle is the caller's alone.
        self.unpark();
        self.wait_until_returned(limit, false)?;
        // SAFETY: By the function's contract; it is not the thread itself, which is refused above.
        unsafe { self.finish() }
    }

    /// The handle is dropped. If the result, if there is one, is the caller's to drop, a value is
    /// returned that keeps the text of the module until then.
    ///
    /// # Safety
    ///
    /// As [`Core::stop`].
    pub(super) unsafe fn abandon(&self) -> Option<Entered> {
        // SAFETY: By the function's contract the handle is the caller's alone.
        match unsafe { self.stop(Limit::None) } {
            Err(error) if error == EDEADLK => {}
            // If the end of the module has ended the thread, it drops the result as well.
            ended => return ended.ok(),
        }
        let is_current = ptr::eq(Task::current_raw(), self.task().as_ptr());
        if !is_current {
            self.request_stop();
        }
        if self.stage.cmpxchg(ATTACHED, ORPHANED, Full).is_ok() || !may_sleep() {
            // In an interrupt, the end of the module drops the result of a thread whose body has
            // returned.
            return None;
        }
        // The body has returned since, so that the thread waits for nothing any more.
        //
        // SAFETY: By the function's contract. It is not the thread itself, whose body has returned.
        unsafe { self.finish() }.ok()
    }
}
