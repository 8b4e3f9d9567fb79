// SPDX-License-Identifier: GPL-2.0

//! The lists of works of a worker, under the lock of the worker.
//!
//! `kthread_cancel_delayed_work_sync()` and `kthread_mod_delayed_work()` are not used. If a timer
//! fires while these functions delete it, the timer drops the work because the work is being
//! cancelled, and the functions report that the work was not pending: the pointer that was given up
//! for the work would be leaked. `kthread_mod_delayed_work()` also releases the lock between the
//! removal of the work and its insertion, so that a task that cancels the work at this time does
//! not find it.
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)

use super::{
    work::{
        delayed_work_of,
        work_of, //
    },
    Node,
    Queue, //
};
use crate::{
    bindings,
    container_of,
    kthread::interrupt,
    prelude::*,
    tether::{
        jiffies,
        raw_lock::RawHeld,
        MAX_JIFFY_OFFSET, //
    },
    time::Jiffies, //
};
use core::ptr::{
    self,
    NonNull, //
};

/// The worker of a queue, with its lock held.
///
/// # Invariants
///
/// `worker` is that of a queue, which is valid for `'a`, and `held` is the lock of `worker`.
struct LockedWorker<'a> {
    worker: *mut bindings::kthread_worker,
    held: RawHeld<'a>,
}

impl LockedWorker<'_> {
    /// Returns the work that the thread runs, or null.
    fn current_work(&self) -> *mut bindings::kthread_work {
        // SAFETY: By the type's invariants `worker` is valid and its lock is held. The field only
        // changes under this lock.
        unsafe { (*self.worker).current_work }
    }

    /// Returns the list of pending works.
    fn pending(&self) -> *mut bindings::list_head {
        // SAFETY: By the type's invariants `worker` is valid, so that its field is in the same
        // allocation.
        unsafe { &raw mut (*self.worker).work_list }
    }

    /// Returns the list of works that wait for their delay.
    fn delayed(&self) -> *mut bindings::list_head {
        // SAFETY: By the type's invariants `worker` is valid, so that its field is in the same
        // allocation.
        unsafe { &raw mut (*self.worker).delayed_work_list }
    }

    /// Returns whether the thread runs the work of a node.
    ///
    /// # Safety
    ///
    /// `node` must be valid.
    unsafe fn is_running(&self, node: NonNull<Node>) -> bool {
        // SAFETY: `work_of()` requires a valid node, which `node` is by the function's contract.
        ptr::eq(self.current_work(), unsafe { work_of(node) })
    }

    /// Returns whether a node is in a list, that is, pending or waiting for its delay.
    ///
    /// # Safety
    ///
    /// `node` must be valid, and bound to the queue of this worker.
    unsafe fn is_listed(&self, node: NonNull<Node>) -> bool {
        // SAFETY: `work_of()` requires a valid node, which `node` is by the function's contract.
        let work = unsafe { work_of(node) };
        // SAFETY: `work` is valid. The node is bound to the queue of this worker by the function's
        // contract, so that its links only change under the lock, which is held by the type's
        // invariants.
        unsafe { !ptr::eq((*work).node.next, &raw const (*work).node) }
    }

    /// Removes a node from the list that it is in, if any. Returns whether it was in a list.
    ///
    /// # Safety
    ///
    /// `node` must be valid, and bound to the queue of this worker. If it is in a list, the pointer
    /// that was given up for it passes to the caller.
    unsafe fn remove(&mut self, node: NonNull<Node>) -> bool {
        // SAFETY: `is_listed()` requires a valid node that is bound to the queue of this worker,
        // which is in the function's contract.
        let listed = unsafe { self.is_listed(node) };
        if listed {
            // SAFETY: `tether_list_del_init()` requires an initialised entry, and no concurrent
            // access to its list. The node is valid by the function's contract, so that its links
            // are initialised. It is bound to the queue of this worker, so that its list is one of
            // the worker's or `leftover`, which only change under the lock that is held.
            unsafe { bindings::tether_list_del_init(&raw mut (*work_of(node)).node) };
        }
        listed
    }

    /// Appends a node to the list of pending works, and wakes the thread.
    ///
    /// Does the same as `kthread_insert_work()`, which is static in `kernel/kthread.c`.
    ///
    /// # Safety
    ///
    /// `node` must be valid, bound to the queue of this worker, and in no list. A pointer must have
    /// been given up for it, which passes to the queue.
    unsafe fn insert(&mut self, node: NonNull<Node>) {
        // SAFETY: `list_add_tail()` requires an entry that is in no list, a valid list, and no
        // concurrent access to either. The node is valid and in no list by the function's contract,
        // and the lock that protects both is held by the type's invariants.
        unsafe { bindings::list_add_tail(&raw mut (*work_of(node)).node, self.pending()) };
        // SAFETY: By the type's invariants `worker` is valid and its lock is held. After the thread
        // was started, `task` only changes under this lock.
        let task = unsafe { (*self.worker).task };
        if self.current_work().is_null() && !task.is_null() {
            // SAFETY: `wake_up_process()` requires a valid task. The queue, which is valid by the
            // type's invariants, holds a reference to its thread.
            unsafe { bindings::wake_up_process(task) };
        }
    }

    /// Inserts a node after `delay`; immediately if `delay` is 0. At most `MAX_JIFFY_OFFSET` is
    /// used.
    ///
    /// # Safety
    ///
    /// The requirements of [`LockedWorker::insert`]. In addition, `node` must be that of a
    /// `DelayedNode`, with a timer that is neither armed nor firing.
    unsafe fn insert_delayed(&mut self, node: NonNull<Node>, delay: Jiffies) {
        // SAFETY: `node` is valid by the function's contract. `worker` is that of the queue that
        // the node is bound to, and the lock is held, so that no other task accesses the field.
        unsafe { (*work_of(node)).worker = self.worker };
        if delay == 0 {
            // SAFETY: The function's contract includes the requirements of `insert()`.
            unsafe { self.insert(node) };
            return;
        }
        // SAFETY: `list_add()` requires an entry that is in no list, a valid list, and no
        // concurrent access to either. The node is valid and in no list by the function's contract,
        // and the lock that protects both is held by the type's invariants.
        unsafe { bindings::list_add(&raw mut (*work_of(node)).node, self.delayed()) };
        // SAFETY: `delayed_work_of()` requires the node of a valid `DelayedNode`, which is in the
        // function's contract.
        let timer = unsafe { &raw mut (*delayed_work_of(node)).timer };
        // SAFETY: `timer` is a field of a valid node. It is neither armed nor firing by the
        // function's contract, and the lock is held, so that no other code accesses it.
        unsafe { (*timer).expires = jiffies().wrapping_add(delay.min(MAX_JIFFY_OFFSET)) };
        // SAFETY: `add_timer()` requires an initialised timer that is not armed, and that stays
        // valid until it has fired or was deleted. It is not armed by the function's contract. The
        // pointer that was given up keeps the node valid until the node leaves the queue, and all
        // code that removes the node deletes the timer first.
        unsafe { bindings::add_timer(timer) };
    }

    /// Deletes the timer of a node, if it has one. Returns whether the timer was armed.
    ///
    /// A timer that is firing is about to move the work, and spins for the lock. In this case
    /// [`None`] is returned, after the lock was released and acquired again: the caller repeats the
    /// call.
    ///
    /// # Safety
    ///
    /// `node` must be valid, bound to the queue of this worker, and stay valid while the lock is
    /// released.
    unsafe fn delete_timer(&mut self, node: NonNull<Node>) -> Option<bool> {
        // SAFETY: The node is valid by the function's contract.
        if !unsafe { (*node.as_ptr()).delayed } {
            return Some(false);
        }
        // SAFETY: `timer_delete_sync_try()` requires an initialised timer, and `delayed_work_of()`
        // the node of a valid `DelayedNode`. The node is valid by the function's contract, and is
        // that of a `DelayedNode` by the invariants of `Node`.
        let armed =
            unsafe { bindings::timer_delete_sync_try(&raw mut (*delayed_work_of(node)).timer) };
        if armed < 0 {
            self.held.relax();
            return None;
        }
        Some(armed != 0)
    }

    /// Deletes the timer of a node, and removes the node from the list that it is in, if any.
    /// Returns whether it was in a list.
    ///
    /// # Safety
    ///
    /// The requirements of [`LockedWorker::delete_timer`] and of [`LockedWorker::remove`].
    unsafe fn dequeue(&mut self, node: NonNull<Node>) -> bool {
        // SAFETY: The function's contract includes the requirements of `delete_timer()`.
        while unsafe { self.delete_timer(node) }.is_none() {}
        // SAFETY: The function's contract includes the requirements of `remove()`.
        unsafe { self.remove(node) }
    }

    /// Returns the first node of a list.
    ///
    /// # Safety
    ///
    /// `head` must be the head of a list of works of nodes, which only changes under the lock.
    unsafe fn first(&self, head: *mut bindings::list_head) -> Option<NonNull<Node>> {
        // SAFETY: `head` is valid by the function's contract, and does not change while the lock is
        // held, which it is by the type's invariants.
        let first = unsafe { (*head).next };
        if ptr::eq(first, head) {
            return None;
        }
        // SAFETY: The list is not empty, so that `first` is the field `node` of a work by the
        // function's contract.
        let work = unsafe { container_of!(first, bindings::kthread_work, node) };
        // SAFETY: `from_work()` requires the work of a node, which is in the function's contract.
        Some(unsafe { Node::from_work(work) })
    }
}

/// The result of [`Queue::cancel_begin`].
pub(super) struct Cancelled {
    /// Whether the node was pending and was removed.
    pub(super) pending: bool,
    /// Whether the node is running.
    pub(super) running: bool,
}

impl Queue {
    /// Acquires the lock of the worker.
    fn lock_worker(&self) -> LockedWorker<'_> {
        let worker = self.worker.get();
        // INVARIANT: `worker` is that of `self`, and the lock is that of `worker`.
        LockedWorker {
            worker,
            // SAFETY: `acquire()` requires an initialised lock that stays valid for the lifetime of
            // the result. The worker was initialised when the queue was created, and the result
            // borrows the queue.
            held: unsafe { RawHeld::acquire(&raw mut (*worker).lock) },
        }
    }

    /// Queues a delayed node, or changes the delay of a pending node. Returns whether the node was
    /// pending.
    ///
    /// The lock is held from the removal of the node to its insertion, so that a task that cancels
    /// the node or waits for it finds it pending.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if the node is being cancelled.
    ///
    /// # Safety
    ///
    /// `node` must be that of a `DelayedNode` that is valid and bound to this queue, and the caller
    /// must be a user of the queue. A pointer must have been given up for the node. It passes to
    /// the queue if this returns `Ok(false)`, and stays with the caller otherwise.
    pub(super) unsafe fn modify_node(&self, node: NonNull<Node>, delay: Jiffies) -> Result<bool> {
        let mut worker = self.lock_worker();
        // SAFETY: `dequeue()` requires a valid node that is bound to this queue, which it is by the
        // function's contract, and passes the pointer of a pending node to us. Either the node is
        // inserted again below, or, in the case of an error, it was not pending.
        let pending = unsafe { worker.dequeue(node) };
        // SAFETY: The node is valid by the function's contract. The field only changes under the
        // lock, which is held.
        if unsafe { (*work_of(node)).canceling } != 0 {
            // The canceller has removed the node, so that it was not pending. It cannot be queued
            // until the canceller returns.
            return Err(EBUSY);
        }
        // SAFETY: `insert_delayed()` requires a valid node of a `DelayedNode` that is bound to this
        // queue, which is in the function's contract. `dequeue()` has deleted its timer and removed
        // the node, under the lock that is still held.
        unsafe { worker.insert_delayed(node, delay) };
        Ok(pending)
    }

    /// Removes a node from the lists of the worker.
    ///
    /// If the node is running and `may_wait` is false, nothing is changed. If the node is running
    /// and `may_wait` is true, it cannot be queued until [`Queue::cancel_end`] was called.
    ///
    /// # Safety
    ///
    /// `node` must be valid and bound to this queue, and the caller must be a user of the queue. If
    /// the node was pending, the pointer that was given up for it passes to the caller.
    pub(super) unsafe fn cancel_begin(&self, node: NonNull<Node>, may_wait: bool) -> Cancelled {
        let mut worker = self.lock_worker();
        let running = loop {
            // SAFETY: `is_running()` requires a valid node, which is in the function's contract.
            let running = unsafe { worker.is_running(node) };
            if running && !may_wait {
                return Cancelled {
                    pending: false,
                    running,
                };
            }
            // SAFETY: `delete_timer()` requires a node that stays valid and is bound to this queue,
            // which is in the function's contract.
            if unsafe { worker.delete_timer(node) }.is_some() {
                break running;
            }
        };
        // SAFETY: `remove()` requires a valid node that is bound to this queue, and passes the
        // pointer to us, which the function's contract passes to the caller.
        let pending = unsafe { worker.remove(node) };
        if running {
            // SAFETY: The node is valid by the function's contract. The field only changes under
            // the lock, which is held.
            unsafe { (*work_of(node)).canceling += 1 };
        }
        Cancelled { pending, running }
    }

    /// Waits until a cancelled node is not running, and allows it to be queued again.
    ///
    /// # Safety
    ///
    /// The caller must have called [`Queue::cancel_begin`] with `may_wait` for this node, which was
    /// running. The node must still be valid, and the caller must be a user of the queue.
    pub(super) unsafe fn cancel_end(&self, node: NonNull<Node>) {
        // SAFETY: `work_of()` requires a valid node, which is in the function's contract.
        let work = unsafe { work_of(node) };
        // SAFETY: `kthread_flush_work()` requires a valid work of a valid worker. The worker is not
        // ended while the queue has a user, which the caller is by the function's contract.
        unsafe { bindings::kthread_flush_work(work) };
        let _worker = self.lock_worker();
        // SAFETY: The node is valid by the function's contract. The field only changes under the
        // lock, which is held. `cancel_begin()` has incremented it.
        unsafe { (*work).canceling -= 1 };
    }

    /// Ends the delay of a delayed node, so that the node is pending at once.
    ///
    /// Nothing happens if the delay is over or the node is not queued. `kthread_flush_work()` of a
    /// work that waits for its delay inserts its own work into the list of delayed works, which are
    /// not run, and does not return. Hence a flush calls this function first.
    ///
    /// # Safety
    ///
    /// `node` must be valid and bound to this queue, and the caller must be a user of the queue.
    pub(super) unsafe fn end_delay(&self, node: NonNull<Node>) {
        let mut worker = self.lock_worker();
        let armed = loop {
            // SAFETY: `delete_timer()` requires a node that stays valid and is bound to this queue,
            // which is in the function's contract.
            if let Some(armed) = unsafe { worker.delete_timer(node) } {
                break armed;
            }
        };
        if armed {
            // SAFETY: `remove()` requires a valid node that is bound to this queue, which is in the
            // function's contract. The node had an armed timer, so that it was in the list of
            // delayed works, and it is inserted again.
            unsafe { worker.remove(node) };
            // SAFETY: `insert()` requires a valid node that is bound to this queue and in no list,
            // with a pointer that was given up. The node was removed above, with its pointer.
            unsafe { worker.insert(node) };
        }
    }

    /// Returns whether a node is pending, waits for its delay, or is running.
    ///
    /// # Safety
    ///
    /// `node` must be valid and bound to this queue.
    pub(super) unsafe fn is_busy(&self, node: NonNull<Node>) -> bool {
        let worker = self.lock_worker();
        // SAFETY: `is_listed()` and `is_running()` require a valid node that is bound to this
        // queue, which is in the function's contract.
        unsafe { worker.is_listed(node) || worker.is_running(node) }
    }

    /// Interrupts the work that the worker runs, if any: interruptible sleeps of the work return
    /// from then on.
    pub(super) fn interrupt_work(&self) {
        let worker = self.lock_worker();
        if worker.current_work().is_null() {
            return;
        }
        interrupt::wake(self.task());
        // Send the signal after the lock is released: on `PREEMPT_RT`, the lock of signals sleeps.
        drop(worker);
        interrupt::kill(self.task());
    }

    /// Moves the pending works of the worker to `leftover`. Works that wait for their delay stay.
    /// Returns whether the worker runs no work.
    ///
    /// # Safety
    ///
    /// The caller must be the task that ends the worker, and the queue must be closed and have no
    /// users.
    pub(super) unsafe fn take_pending(&self) -> bool {
        let worker = self.lock_worker();
        // SAFETY: `list_splice_tail_init()` requires two valid lists without concurrent accesses.
        // The lock protects the first list, and only the task that ends the worker, which is the
        // caller by the function's contract, uses the second one.
        unsafe { bindings::list_splice_tail_init(worker.pending(), self.leftover.get()) };
        worker.current_work().is_null()
    }

    /// Removes one node from a worker that has ended: a node of `leftover`, or one that is pending
    /// or waits for its delay. Returns [`None`] if none is left.
    ///
    /// # Safety
    ///
    /// The caller must be the task that ends the worker, after the thread has ended. The queue must
    /// be closed and have no users. The pointer that was given up for the node passes to the
    /// caller.
    pub(super) unsafe fn take_node(&self) -> Option<NonNull<Node>> {
        let mut worker = self.lock_worker();
        loop {
            // SAFETY: `list_splice_tail_init()` requires two valid lists without concurrent
            // accesses. The lock protects the first list, and only the caller uses the second one.
            unsafe { bindings::list_splice_tail_init(worker.pending(), self.leftover.get()) };
            // SAFETY: `first()` requires a list of works of nodes. The queue has no users by the
            // function's contract, so that no task is in a flush, which would add another work.
            if let Some(node) = unsafe { worker.first(self.leftover.get()) } {
                // SAFETY: `remove()` requires a valid node that is bound to this queue. A node in a
                // list of the worker is both, and the pointer passes to the caller.
                unsafe { worker.remove(node) };
                return Some(node);
            }
            // SAFETY: `first()` requires a list of works of nodes. The queue has no users, so that
            // no task is in a flush, which would add another work.
            let node = unsafe { worker.first(worker.delayed()) }?;
            // If the timer is firing, it makes the work pending, and the next pass finds the work.
            //
            // SAFETY: `delete_timer()` requires a valid node that is bound to this queue, and that
            // stays valid while the lock is released. A node in a list of the worker is both.
            // Only this function removes nodes of a queue without users.
            if unsafe { worker.delete_timer(node) }.is_some() {
                // SAFETY: `remove()` requires a valid node that is bound to this queue, which a
                // node in a list of the worker is, and the pointer passes to the caller.
                unsafe { worker.remove(node) };
                return Some(node);
            }
        }
    }
}
