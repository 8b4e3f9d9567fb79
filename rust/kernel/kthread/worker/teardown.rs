// SPDX-License-Identifier: GPL-2.0

//! The thread of a worker, and the end of a worker.

use super::{
    queue::CLOSED,
    Node,
    Queue, //
};
use crate::{
    bindings,
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
    task::Task,
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
    /// Stops the thread, and keeps what is pending for [`Queue::drop_leftover`]. Sleeps.
    ///
    /// The work that is running is interrupted: it is woken from interruptible sleeps. The log
    /// names the worker every ten seconds until that work returns.
    ///
    /// # Safety
    ///
    /// The caller must have taken the worker off its owner's list, and must not be one of its
    /// works.
    unsafe fn end(&self) {
        self.users.fetch_add(CLOSED, Full);
        self.asked.xchg(true, Full);
        let mut since = Instant::<Monotonic>::now();
        let mut seconds = 0u32;
        let mut wait = || {
            // Each time: the work may not have begun its sleep, or have begun another one.
            //
            // SAFETY: The worker is there, with its thread.
            unsafe { bindings::tether_kthread_interrupt_work(self.worker.get()) };
            fsleep(Delta::from_millis(1));
            if since.elapsed().as_millis() < 1000 {
                return;
            }
            since = Instant::now();
            self.attachment.owner().request_all_in_exit();
            seconds += 1;
            if seconds % 10 == 0 {
                pr_warn!("a work of worker {} does not return\n", self.task().pid());
            }
        };
        while self.users.load(Acquire) != CLOSED {
            wait();
        }
        // Pending works do not run any more. Dropping them calls destructors of the module, while
        // other tasks may wait until the worker has ended; so they are dropped later.
        //
        // `kthread_stop()` would wait for the work that is running, but in silence.
        //
        // SAFETY: The worker is valid and closed, with no users, and `leftover` is ours.
        while !unsafe {
            bindings::tether_kthread_take_pending(self.worker.get(), self.leftover.get())
        } {
            wait();
        }
        // SAFETY: The thread is a kernel thread, and is stopped once; it is not ours, by the
        // function's contract.
        unsafe { bindings::kthread_stop(self.task.load(Relaxed)) };
    }

    /// Drops what was pending when the worker ended, be it waiting for its delay or not.
    ///
    /// # Safety
    ///
    /// [`Queue::end`] must have returned, and this is called once. The text of the module must be
    /// there.
    unsafe fn drop_leftover(&self) {
        loop {
            // SAFETY: The worker is valid and closed, its thread has ended, and `leftover` is ours.
            let work = unsafe {
                bindings::tether_kthread_take_work(self.worker.get(), self.leftover.get())
            };
            if work.is_null() {
                break;
            }
            // SAFETY: The queue has no users, so that no task is in a flush: each work is that of a
            // node.
            let node = unsafe { Node::from_work(work) };
            // SAFETY: The node was pending, and was just taken out of its list.
            unsafe { ((*node.as_ref().vtable.get()).release)(node) };
        }
        // INVARIANT: There are no users, and nothing is left.
        self.ended.store(true, Release);
    }

    /// Ends the worker, if its owner's end does not.
    ///
    /// Must not be called by one of its works.
    pub(super) fn end_attached(&self) {
        if let Some(_entered) = self.attachment.detach() {
            // SAFETY: It was just taken off the list, and by the function's contract we are not in
            // one of its works.
            unsafe { self.end() };
            // SAFETY: It has just ended, and `_entered` keeps the text of the module.
            unsafe { self.drop_leftover() };
            // SAFETY: The list's reference is ours now, and the caller has another.
            drop(unsafe { Arc::from_raw(self) });
        }
    }

    /// Asks the worker to end: its works are interrupted from here on. They are run, as an older
    /// thread may wait for one of them.
    ///
    /// # Safety
    ///
    /// As [`What::request`] says.
    pub(super) unsafe fn request_end(attachment: *const Attachment) {
        // SAFETY: The attachment is that of a queue, which is valid for this call.
        let this = unsafe { Self::from_attachment(attachment) };
        this.asked.xchg(true, Full);
        // SAFETY: The worker is valid, and has its thread, as the queue was attached.
        unsafe { bindings::tether_kthread_interrupt_work(this.worker.get()) };
    }

    /// Whether the works of the queue are to be interrupted.
    #[inline]
    pub(in crate::kthread) fn is_asked(&self) -> bool {
        read_once(&self.asked)
    }

    /// Runs a work with the thread interrupted, so that interruptible sleeps of the work end at once.
    #[cold]
    #[inline(never)]
    pub(super) fn run_interrupted(&self, run: impl FnOnce()) {
        // SAFETY: The current task is valid, and a kernel thread.
        unsafe { bindings::tether_kthread_interrupt(Task::current_raw()) };
        run();
        self.end_interrupt();
    }

    /// Lets the thread sleep again, between two works.
    #[cold]
    pub(super) fn end_interrupt(&self) {
        // SAFETY: The current task is a worker's thread.
        unsafe { bindings::tether_kthread_clear_interrupt() };
    }

    /// The owner's end has found the worker.
    ///
    /// # Safety
    ///
    /// As [`What::end`] says.
    pub(super) unsafe fn end_leaked(attachment: *const Attachment) {
        // SAFETY: By the function's contract.
        let this = unsafe { Self::from_attachment(attachment) };
        // The owner's record may be that of another module later, so that it is noted here.
        this.torn_down.store(true, Relaxed);
        // SAFETY: The owner's end has taken it off the list.
        unsafe { this.end() };
    }

    /// The owner's end has published that the worker has ended.
    ///
    /// # Safety
    ///
    /// As [`What::discard`] says.
    pub(super) unsafe fn discard_leaked(attachment: *const Attachment) {
        // SAFETY: By the function's contract.
        let this = unsafe { Self::from_attachment(attachment) };
        // SAFETY: `end_leaked` has returned, and the owner's end keeps the text of the module.
        unsafe { this.drop_leftover() };
    }

    /// # Safety
    ///
    /// As [`What::release`] says.
    pub(super) unsafe fn release(attachment: *const Attachment) {
        // SAFETY: By the function's contract the list had a reference.
        drop(unsafe { Arc::from_raw(Self::from_attachment(attachment)) });
    }
}

#[pinned_drop]
impl PinnedDrop for Queue {
    fn drop(self: Pin<&mut Self>) {
        let task = self.task.load(Relaxed);
        if !task.is_null() {
            // SAFETY: The reference is ours, by the type's invariants.
            unsafe { bindings::put_task_struct(task) };
        }
    }
}

/// The function of a worker's thread. It is in text that never goes away.
///
/// # Safety
///
/// Called once for a thread, in it, with its [`Queue`], which stays valid until the thread has
/// ended.
#[inline(never)]
pub(in crate::kthread) unsafe extern "C" fn main(data: *mut c_void) -> c_int {
    // SAFETY: By the function's contract.
    let queue = unsafe { &*data.cast::<Queue>() };
    // SAFETY: This is called once, by the thread that the state belongs to. The queue is valid.
    if !unsafe { queue.start.wait() } {
        return EINTR.to_errno();
    }
    // SAFETY: The worker is initialised, and this is its thread.
    unsafe { bindings::kthread_worker_fn(queue.worker.get().cast()) }
}
