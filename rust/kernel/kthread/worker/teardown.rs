// SPDX-License-Identifier: GPL-2.0

//! The thread of a worker, and ending a worker.

use super::{
    queue::CLOSED,
    Queue, //
};
use crate::{
    bindings,
    kthread::interrupt,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Full,
            Relaxed,
            Release, //
        },
        Arc, //
    },
    tether::{
        read_once,
        Attachment, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    }, //
};

impl Queue {
    /// Stops the thread, and keeps the pending works for [`Queue::drop_leftover`]. Sleeps.
    ///
    /// The running work is interrupted: it is woken from interruptible sleeps. The log names the
    /// worker every ten seconds until that work has returned.
    ///
    /// # Safety
    ///
    /// The caller must have taken the worker off its owner's list, and must not be inside a work of
    /// the worker.
    unsafe fn end(&self) {
        self.users.fetch_add(CLOSED, Full);
        self.asked.xchg(true, Full);
        let mut since = Instant::<Monotonic>::now();
        let mut seconds = 0u32;
        let mut wait = || {
            // Interrupt the work each time: it may not have begun its sleep, or may have begun
            // another sleep.
            self.interrupt_work();
            fsleep(Delta::from_millis(1));
            if since.elapsed().as_millis() < 1000 {
                return;
            }
            since = Instant::now();
            self.attachment.owner().request_all_in_exit();
            seconds += 1;
            if seconds % 10 == 0 {
                pr_warn!(
                    "a work of worker {} does not return: the worker cannot stop\n",
                    self.task().pid()
                );
            }
        };
        while self.users.load(Acquire) != CLOSED {
            wait();
        }
        // Pending works are not run any more. Dropping them calls destructors of the module, while
        // other tasks may wait until the worker has ended; hence they are dropped later.
        //
        // `kthread_stop()` would wait for the running work as well, but without a log message.
        //
        // SAFETY: `take_pending()` must be called by the task that ends the worker, for a closed
        // queue without users. By the function's contract the caller has taken the worker off the
        // list, so that it is this task. `users` is `CLOSED`.
        while !unsafe { self.take_pending() } {
            wait();
        }
        // SAFETY: `kthread_stop()` requires a valid kernel thread that is stopped once, by another
        // task. The queue holds a reference to its thread. By the function's contract the caller
        // has taken the worker off the list, so that it stops it once, and is not inside a work.
        unsafe { bindings::kthread_stop(self.task.load(Relaxed)) };
    }

    /// Drops the works that were pending when the worker ended, including those that wait for their
    /// delay.
    ///
    /// # Safety
    ///
    /// [`Queue::end`] must have returned, and this must be called once. The text of the module must
    /// be mapped.
    unsafe fn drop_leftover(&self) {
        // SAFETY: `take_node()` must be called by the task that ends the worker, for a closed queue
        // without users and without a thread. `end()` has closed the queue, waited for the users
        // and stopped the thread, and this is called once after it.
        while let Some(node) = unsafe { self.take_node() } {
            // SAFETY: `release()` requires a node that was given up and is not pending, and mapped
            // text. The node was pending and has been removed. By the invariants of `Node` its
            // vtable is in the text of the module, which is mapped by the function's contract, or
            // in permanent text.
            unsafe { ((*node.as_ref().vtable.get()).release)(node) };
        }
        // INVARIANT: The queue has no users, and the loop has removed all works.
        self.ended.store(true, Release);
    }

    /// Ends the worker, unless teardown of its owner ends it.
    ///
    /// Must not be called by a work of the worker.
    pub(super) fn end_attached(&self) {
        if let Some(_entered) = self.attachment.detach() {
            // SAFETY: `end()` requires that the worker was taken off the list, and that the caller
            // is not inside a work of it. `detach()` has taken it off, and the callers are not
            // inside its works.
            unsafe { self.end() };
            // SAFETY: `drop_leftover()` requires that `end()` has returned, and that the module's
            // text is mapped. `_entered` keeps it mapped.
            unsafe { self.drop_leftover() };
            // SAFETY: `from_raw()` requires a reference that is ours. `detach()` has passed the
            // list's reference to us, and the caller has another.
            drop(unsafe { Arc::from_raw(self) });
        }
    }

    /// Requests the worker to end: its works are interrupted from here on. They are still run,
    /// because an older thread may wait for one of them.
    ///
    /// # Safety
    ///
    /// The requirements are those of [`AttachmentOps::request`].
    pub(super) unsafe fn request_end(attachment: *const Attachment) {
        // SAFETY: `from_attachment()` requires the attachment of a queue that is valid for this
        // call, which it is by the requirements of [`AttachmentOps::request`].
        let this = unsafe { Self::from_attachment(attachment) };
        this.asked.xchg(true, Full);
        this.interrupt_work();
    }

    /// Returns whether the works of the queue are to be interrupted.
    #[inline]
    pub(in crate::kthread) fn is_asked(&self) -> bool {
        read_once(&self.asked)
    }

    /// Runs a work with the thread interrupted, so that interruptible sleeps of the work return at
    /// once.
    #[cold]
    #[inline(never)]
    pub(super) fn run_interrupted(&self, run: impl FnOnce()) {
        interrupt::interrupt(self.task());
        run();
        self.end_interrupt();
    }

    /// Undoes the interruption between two works, so that the thread can sleep again.
    #[cold]
    pub(super) fn end_interrupt(&self) {
        interrupt::clear();
    }

    /// Ends a worker that teardown of its owner has found.
    ///
    /// # Safety
    ///
    /// The requirements are those of [`AttachmentOps::end`].
    pub(super) unsafe fn end_leaked(attachment: *const Attachment) {
        // SAFETY: `from_attachment()` requires the attachment of a queue that is valid for this
        // call. Only queues have this function in their `AttachmentOps`, and the list's reference
        // keeps the queue valid.
        let this = unsafe { Self::from_attachment(attachment) };
        // Record this in the queue, because the owner's record may later be reused for another
        // module.
        this.torn_down.store(true, Relaxed);
        // SAFETY: `end()` requires that the worker was taken off the list, which teardown has done,
        // and that the caller is not inside a work of the worker. The task that tears the module
        // down is not.
        unsafe { this.end() };
    }

    /// Drops the pending works of a worker after its end was published.
    ///
    /// # Safety
    ///
    /// The requirements are those of [`AttachmentOps::discard`].
    pub(super) unsafe fn discard_leaked(attachment: *const Attachment) {
        // SAFETY: `from_attachment()` requires the attachment of a queue that is valid for this
        // call. Only queues have this function in their `AttachmentOps`, and the list's reference
        // keeps the queue valid.
        let this = unsafe { Self::from_attachment(attachment) };
        // SAFETY: `drop_leftover()` requires that `end()` has returned, which `end_leaked()` has
        // called, and that the module's text is mapped, which teardown ensures.
        unsafe { this.drop_leftover() };
    }

    /// Drops the list's reference.
    /// # Safety
    ///
    /// The requirements are those of [`AttachmentOps::release`].
    pub(super) unsafe fn release(attachment: *const Attachment) {
        // SAFETY: `from_attachment()` requires the attachment of a valid queue, and `from_raw()` a
        // reference that is ours. By the function's contract the list held a reference, which is
        // passed to us.
        drop(unsafe { Arc::from_raw(Self::from_attachment(attachment)) });
    }
}

#[pinned_drop]
impl PinnedDrop for Queue {
    fn drop(self: Pin<&mut Self>) {
        let task = self.task.load(Relaxed);
        if !task.is_null() {
            // SAFETY: `put_task_struct()` requires a task reference that is ours. The queue holds
            // one by the type's invariants.
            unsafe { bindings::put_task_struct(task) };
        }
    }
}

/// The function of a worker's thread, in permanent text.
///
/// # Safety
///
/// Must be called once for a thread, in that thread, with its [`Queue`], which must stay valid
/// until the thread has ended.
#[inline(never)]
pub(in crate::kthread) unsafe extern "C" fn main(data: *mut c_void) -> c_int {
    // SAFETY: By the function's contract `data` points to a queue that is valid until the thread
    // has ended.
    let queue = unsafe { &*data.cast::<Queue>() };
    // SAFETY: `wait()` must be called once, by the thread that `start` belongs to, and `start` must
    // stay valid. This is that thread, and the queue is valid until it has ended.
    if !unsafe { queue.start.wait() } {
        return EINTR.to_errno();
    }
    // SAFETY: `kthread_worker_fn()` requires an initialised worker, and its thread as the caller.
    // `worker()` has initialised it, and has set its `task` to this thread.
    unsafe { bindings::kthread_worker_fn(queue.worker.get().cast()) }
}
