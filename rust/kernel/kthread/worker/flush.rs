// SPDX-License-Identifier: GPL-2.0

//! Waiting for items of a worker, and cancelling them.

use super::{
    impl_has_kthread_work,
    pointer::node_of,
    work::work_of,
    HasKthreadWork,
    KthreadWork,
    KthreadWorkItem,
    KthreadWorkPointer,
    Node,
    Queue,
    WorkContext, //
};
use crate::{
    bindings,
    kthread::{
        completion::{
            Completion,
            Limit, //
        },
        current_waits, //
    },
    prelude::*,
    sync::Arc,
    tether::{
        jiffies,
        may_sleep, //
    },
    time::{
        msecs_to_jiffies,
        Delta, //
    }, //
};
use core::ptr::NonNull;

impl Queue {
    /// Waits until all works that are pending now have run. Does not wait for delays.
    ///
    /// # Context
    ///
    /// Process context; sleeps uninterruptibly, for as long as the works take. Allocates if it is
    /// called by a thread or a work, or in the exit of the module.
    ///
    /// # Errors
    ///
    /// * [`EDEADLK`] if this is called by a work of this worker, by a thread that the worker waits
    ///   for, or in an interrupt;
    /// * [`EINTR`] if the caller is a thread or a work that was requested to stop, and the wait has
    ///   lasted for a second;
    /// * [`ESHUTDOWN`] if the worker was dropped, [`ENODEV`] if its module is being removed.
    #[doc(alias = "kthread_flush_worker")]
    pub fn flush(&self) -> Result {
        if self.must_wait_in_steps(Limit::None) {
            match self.flush_within(Limit::None) {
                Err(error) if error == ENOMEM => {}
                flushed => return flushed,
            }
        }
        let _waiting = self.waits.wait_for(Limit::None)?;
        let _user = self.enter().ok_or_else(|| self.closed_error())?;
        // SAFETY: `kthread_flush_worker()` requires a worker with a thread. The queue is not closed
        // while `_user` exists, so that the thread has not been stopped.
        unsafe { bindings::kthread_flush_worker(self.worker.get()) };
        Ok(())
    }

    /// Returns whether a wait is left to Tether, which interrupts it each second, and not to the
    /// kernel. This applies to waits with a limit, to callers that may be requested to stop
    /// meanwhile (a thread or a work), and to the exit of the module, where a work may wait for a
    /// thread that is dropped later.
    fn must_wait_in_steps(&self, limit: Limit) -> bool {
        !matches!(limit, Limit::None)
            || current_waits().is_some()
            || self.attachment.owner().is_in_exit()
    }

    /// Called each second during a wait. Returns the error that ends the wait.
    fn end_of_step(&self, limit: Limit) -> Result {
        self.attachment.owner().request_all_in_exit();
        limit.may_go_on()
    }

    /// Waits, tick by tick, until `condition` holds. For events without a completion.
    fn poll_until(&self, limit: Limit, mut condition: impl FnMut() -> bool) -> Result {
        let (begun, second) = (jiffies(), msecs_to_jiffies(1000));
        let mut next = second;
        while !condition() {
            limit.pause(begun)?;
            let passed = jiffies().wrapping_sub(begun);
            if passed >= next {
                next = passed.saturating_add(second);
                self.end_of_step(limit)?;
            }
        }
        Ok(())
    }

    /// Like [`Queue::flush`], but a fatal signal ends the wait: for a task that acts on behalf of a
    /// user.
    ///
    /// # Context
    ///
    /// Process context; allocates, and sleeps.
    ///
    /// # Errors
    ///
    /// As for [`Queue::flush`], [`EINTR`] if the current task was killed, is exiting, or is a
    /// thread that is requested to stop, and [`ENOMEM`] if there is not enough memory.
    pub fn flush_killable(&self) -> Result {
        self.flush_within(Limit::Killed)
    }

    /// Flushes the worker like [`Queue::flush_killable`], but waits for at most `time`, which is
    /// rounded up to whole jiffies.
    ///
    /// # Context
    ///
    /// Process context; allocates, and sleeps.
    ///
    /// # Errors
    ///
    /// As for [`Queue::flush_killable`], and [`ETIMEDOUT`] if the works have not run within `time`.
    pub fn flush_timeout(&self, time: Delta) -> Result {
        self.flush_within(Limit::killed_or_after(time))
    }

    /// Enqueues a [`Flush`] work and waits for it. The work is cancelled if the wait ends before.
    fn flush_within(&self, limit: Limit) -> Result {
        if !may_sleep() {
            return Err(EDEADLK);
        }
        // Allocate before the wait is recorded: an allocation may reclaim memory, which calls
        // notifiers of drivers, and these may wait for other threads.
        let flush = Arc::pin_init(
            pin_init!(Flush {
                done <- Completion::new(),
                work <- KthreadWork::new(),
            }),
            GFP_KERNEL,
        )?;
        let waiting = self.waits.wait_for(limit)?;
        // The task that ends the worker waits for its users, and hence for this work.
        let _user = self.enter().ok_or_else(|| self.closed_error())?;
        self.enqueue(flush.clone())?;
        let waited = limit.in_steps(
            |limit| flush.done.wait(limit),
            || self.end_of_step(limit).err().map(Err),
        );
        drop(waiting);
        if waited.is_err() {
            // Without this, a stuck worker would collect a work for each call that times out. If
            // the cancellation fails, the work is running, or the task that ends the worker drops
            // it.
            let _ = self.cancel(&flush);
            if flush.done.is_done() {
                return Ok(());
            }
        }
        waited
    }

    /// Takes a node out of the queue if it is pending, and waits until it is not running. Returns
    /// whether it was pending; if so, the pointer that was given up for it passes to the caller.
    ///
    /// # Errors
    ///
    /// [`EINTR`] and [`ETIMEDOUT`] according to `limit`; in these cases nothing has been changed.
    /// [`EDEADLK`] if the node is running, and the worker is the current thread or waits for the
    /// current thread; a pending node stays pending.
    ///
    /// # Safety
    ///
    /// The node must be valid and bound to this queue, and the caller must be a user of the queue.
    unsafe fn cancel_node(&self, node: NonNull<Node>, limit: Limit) -> Result<bool> {
        // SAFETY: `cancel_begin()` requires a valid node that is bound to this queue, and a user of
        // the queue, which are in the function's contract. The pointer of a pending node is passed
        // to the caller.
        let begin = |may_wait| unsafe { self.cancel_begin(node, may_wait) };
        let begun = begin(false);
        if !begun.running {
            return Ok(begun.pending);
        }
        // The node is running, and nothing has been changed.
        let _waiting = self.waits.wait_for(limit)?;
        if self.must_wait_in_steps(limit) {
            let mut was_pending = false;
            self.poll_until(limit, || {
                let begun = begin(false);
                was_pending = begun.pending;
                !begun.running
            })?;
            return Ok(was_pending);
        }
        let begun = begin(true);
        if begun.running {
            // SAFETY: `cancel_end()` requires a valid node that `cancel_begin()` has found running
            // with `may_wait`, which it has, and a user of the queue. The node is valid and the
            // caller is a user by the function's contract.
            unsafe { self.cancel_end(node) };
        }
        Ok(begun.pending)
    }

    /// Waits until the item is neither pending nor running. If the item waits for its delay, the
    /// delay ends at once.
    ///
    /// If the item is enqueued again meanwhile, it may be pending when this returns.
    ///
    /// # Context
    ///
    /// Process context; sleeps uninterruptibly, for as long as the works before the item take.
    ///
    /// # Errors
    ///
    /// As for [`Queue::flush`].
    #[doc(alias = "kthread_flush_work")]
    pub fn flush_work<T, const ID: u64>(&self, item: &Arc<T>) -> Result
    where
        Arc<T>: KthreadWorkPointer<ID>,
        T: HasKthreadWork<T, ID>,
    {
        self.flush_work_within(item, Limit::None)
    }

    /// Waits like [`Queue::flush_work`], but a fatal signal ends the wait.
    ///
    /// # Errors
    ///
    /// As for [`Queue::flush_work`], and [`EINTR`] if the current task was killed, is exiting, or
    /// is a thread that is requested to stop.
    pub fn flush_work_killable<T, const ID: u64>(&self, item: &Arc<T>) -> Result
    where
        Arc<T>: KthreadWorkPointer<ID>,
        T: HasKthreadWork<T, ID>,
    {
        self.flush_work_within(item, Limit::Killed)
    }

    /// Waits like [`Queue::flush_work_killable`], but for at most `time`.
    ///
    /// # Errors
    ///
    /// As for [`Queue::flush_work_killable`], and [`ETIMEDOUT`] if the item has not run within
    /// `time`.
    pub fn flush_work_timeout<T, const ID: u64>(&self, item: &Arc<T>, time: Delta) -> Result
    where
        Arc<T>: KthreadWorkPointer<ID>,
        T: HasKthreadWork<T, ID>,
    {
        self.flush_work_within(item, Limit::killed_or_after(time))
    }

    fn flush_work_within<T, const ID: u64>(&self, item: &Arc<T>, limit: Limit) -> Result
    where
        Arc<T>: KthreadWorkPointer<ID>,
        T: HasKthreadWork<T, ID>,
    {
        if self.is_current() || !may_sleep() {
            return Err(EDEADLK);
        }
        let _user = self.enter().ok_or_else(|| self.closed_error())?;
        // SAFETY: `node_of()` requires a valid object. `item` keeps the object valid.
        let node = unsafe { node_of::<T, ID>(Arc::as_ptr(item).cast_mut()) };
        if !self.has(node) {
            return Ok(());
        }
        // SAFETY: `is_busy()` requires a valid node that is bound to this queue. `item` keeps the
        // node valid, and `has()` has found it bound. It stays bound, because the queue is not
        // closed while `_user` exists.
        let is_busy = || unsafe { self.is_busy(node) };
        if !is_busy() {
            return Ok(());
        }
        let _waiting = self.waits.wait_for(limit)?;
        if self.must_wait_in_steps(limit) {
            // SAFETY: `end_delay()` requires a valid node that is bound to this queue, and a user
            // of the queue. `item` keeps the node valid, `has()` has found it bound, and `_user` is
            // the user.
            unsafe { self.end_delay(node) };
            return self.poll_until(limit, || !is_busy());
        }
        // `kthread_flush_work()` does not return for a work that waits for its delay.
        //
        // SAFETY: The node is valid, because `item` keeps its object valid.
        if !unsafe { node.as_ref() }.delayed {
            // SAFETY: `kthread_flush_work()` requires a valid work and, if the work is in a worker,
            // a valid worker. `item` keeps the node valid. The node is bound to this queue, which
            // is not closed while `_user` exists.
            unsafe { bindings::kthread_flush_work(work_of(node)) };
            return Ok(());
        }
        // SAFETY: `end_delay()` requires a valid node that is bound to this queue, and a user of
        // the queue. `item` keeps the node valid, `has()` has found it bound, and `_user` is the
        // user.
        unsafe { self.end_delay(node) };
        // SAFETY: `kthread_flush_worker()` requires a worker with a thread. The queue is not closed
        // while `_user` exists, so that the thread has not been stopped.
        unsafe { bindings::kthread_flush_worker(self.worker.get()) };
        Ok(())
    }

    /// Takes an item back if it is pending, and waits until it is not running.
    ///
    /// The item cannot be enqueued during the wait, unless the caller is a thread or a work, or is
    /// in the exit of the module: then this is like [`Queue::cancel_killable`].
    ///
    /// # Context
    ///
    /// Process context; if the item is running, sleeps uninterruptibly until it has returned.
    ///
    /// # Errors
    ///
    /// * [`EDEADLK`] if the item is running, and this is called by its own callback, by a thread
    ///   that the worker waits for, or in an interrupt. If the item is pending as well, it stays
    ///   pending;
    /// * [`EINTR`] if the caller is a thread or a work that was requested to stop, and the wait has
    ///   lasted for a second;
    /// * [`ENODEV`] if the module of the worker is being removed.
    #[doc(alias = "kthread_cancel_work_sync")]
    #[doc(alias = "kthread_cancel_delayed_work_sync")]
    pub fn cancel<T, const ID: u64>(&self, item: &Arc<T>) -> Result<Option<Arc<T>>>
    where
        Arc<T>: KthreadWorkPointer<ID>,
        T: HasKthreadWork<T, ID>,
    {
        self.cancel_within(item, Limit::None)
    }

    /// Cancels the item like [`Queue::cancel`], but a fatal signal ends the wait.
    ///
    /// The item may be enqueued during the wait. If it enqueues itself, it may run several times
    /// before it is cancelled.
    ///
    /// # Errors
    ///
    /// As for [`Queue::cancel`], and [`EINTR`] if the current task was killed, is exiting, or is a
    /// thread that is requested to stop. In the latter case, a pending item stays pending.
    pub fn cancel_killable<T, const ID: u64>(&self, item: &Arc<T>) -> Result<Option<Arc<T>>>
    where
        Arc<T>: KthreadWorkPointer<ID>,
        T: HasKthreadWork<T, ID>,
    {
        self.cancel_within(item, Limit::Killed)
    }

    /// Cancels the item like [`Queue::cancel_killable`], but waits for at most `time`.
    ///
    /// # Errors
    ///
    /// As for [`Queue::cancel_killable`], and [`ETIMEDOUT`] if the item is running for longer than
    /// `time`.
    pub fn cancel_timeout<T, const ID: u64>(
        &self,
        item: &Arc<T>,
        time: Delta,
    ) -> Result<Option<Arc<T>>>
    where
        Arc<T>: KthreadWorkPointer<ID>,
        T: HasKthreadWork<T, ID>,
    {
        self.cancel_within(item, Limit::killed_or_after(time))
    }

    fn cancel_within<T, const ID: u64>(&self, item: &Arc<T>, limit: Limit) -> Result<Option<Arc<T>>>
    where
        Arc<T>: KthreadWorkPointer<ID>,
        T: HasKthreadWork<T, ID>,
    {
        // SAFETY: `node_of()` requires a valid object. `item` keeps the object valid.
        let node = unsafe { node_of::<T, ID>(Arc::as_ptr(item).cast_mut()) };
        let Some(_user) = self.enter() else {
            // The task that ends the worker drops the pending items.
            return match self.closed_error() {
                error if error == ENODEV => Err(error),
                _ => Ok(None),
            };
        };
        if !self.has(node) {
            return Ok(None);
        }
        // SAFETY: `cancel_node()` requires a valid node that is bound to this queue, which has a
        // user. `item` keeps the node valid, `has()` has found it bound, and `_user` is the user.
        let pending = unsafe { self.cancel_node(node, limit) }?;
        // SAFETY: `from_node()` requires a node to which a pointer was passed. If the node was
        // pending, it owned a reference, and `cancel_node()` has passed the node to us.
        Ok(pending.then(|| unsafe { <Arc<T> as KthreadWorkPointer<ID>>::from_node(node) }))
    }
}

/// A work that completes `done` after the works before it have run.
#[pin_data]
struct Flush {
    #[pin]
    done: Completion,
    #[pin]
    work: KthreadWork<Flush>,
}

impl_has_kthread_work! {
    impl HasKthreadWork<Self> for Flush { self.work }
}

impl KthreadWorkItem for Flush {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>, _context: &WorkContext<'_>) {
        this.done.complete_all();
    }
}
