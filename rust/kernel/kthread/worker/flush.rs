// SPDX-License-Identifier: GPL-2.0

//! Waiting for items of a worker, and cancelling them.

use super::{
    impl_has_kthread_work,
    pointer::node_of,
    work::{
        delayed_work_of,
        work_of, //
    },
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
    /// Waits until all that is pending now has run. Delays are not waited for.
    ///
    /// # Context
    ///
    /// Process context; sleeps uninterruptibly, for as long as the works take.
    ///
    /// # Errors
    ///
    /// * [`EDEADLK`] if this is called by a work of this worker, by a thread that the worker waits
    ///   for, or in an interrupt;
    /// * [`ESHUTDOWN`] if the worker was dropped, [`ENODEV`] if its module is going.
    #[doc(alias = "kthread_flush_worker")]
    pub fn flush(&self) -> Result {
        if self.must_look_around() {
            match self.flush_within(Limit::None) {
                Err(error) if error == ENOMEM => {}
                flushed => return flushed,
            }
        }
        let _waiting = self.waits.wait_for(Limit::None)?;
        let _user = self.enter().ok_or_else(|| self.closed_error())?;
        // SAFETY: The worker is there, with its thread, as it is not closed.
        unsafe { bindings::kthread_flush_worker(self.worker.get()) };
        Ok(())
    }

    /// Returns whether a wait without a limit must be interrupted from time to time, instead of
    /// being left to the kernel: in a thread or a worker, which may be asked to end meanwhile, and
    /// in the exit of the module, where a work may wait for a thread whose handle is dropped later.
    fn must_look_around(&self) -> bool {
        current_waits().is_some() || self.attachment.owner().is_in_exit()
    }

    /// Called each second during a wait. Returns the error that ends the wait.
    fn look_around(&self, limit: Limit) -> Result {
        self.attachment.owner().request_all_in_exit();
        limit.may_go_on()
    }

    /// Waits, tick by tick, until `condition` holds. For events without a completion.
    fn poll_until(&self, limit: Limit, mut condition: impl FnMut() -> bool) -> Result {
        let (begun, second) = (jiffies(), msecs_to_jiffies(1000));
        let mut seconds = 0;
        while !condition() {
            limit.pause(begun)?;
            let passed = jiffies().wrapping_sub(begun) / second;
            if passed > seconds {
                seconds = passed;
                self.look_around(limit)?;
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
    /// As [`Queue::flush`], [`EINTR`] if the current task was killed, is in its exit, or is a
    /// thread that is asked to stop, and [`ENOMEM`].
    pub fn flush_killable(&self) -> Result {
        self.flush_within(Limit::Killed)
    }

    /// Like [`Queue::flush_killable`], but for at most `time`, which is rounded up to whole
    /// jiffies.
    ///
    /// # Context
    ///
    /// Process context; allocates, and sleeps.
    ///
    /// # Errors
    ///
    /// As [`Queue::flush_killable`], and [`ETIMEDOUT`] if the works have not run within `time`.
    pub fn flush_timeout(&self, time: Delta) -> Result {
        self.flush_within(Limit::killed_or_after(time))
    }

    /// Waits for a work of Tether's own, which stays in the queue if the wait ends before.
    fn flush_within(&self, limit: Limit) -> Result {
        if !may_sleep() {
            return Err(EDEADLK);
        }
        // Before the wait is entered: an allocation may reclaim, which calls notifiers of drivers,
        // and these may wait for other threads.
        let flush = Arc::pin_init(
            pin_init!(Flush {
                done <- Completion::new(),
                work <- KthreadWork::new(),
            }),
            GFP_KERNEL,
        )?;
        let waiting = self.waits.wait_for(limit)?;
        // The end of the worker waits for its users, and so until this work has run.
        let _user = self.enter().ok_or_else(|| self.closed_error())?;
        self.enqueue(flush.clone())?;
        let waited = limit.in_steps(
            |limit| flush.done.wait(limit),
            || self.look_around(limit).err().map(Err),
        );
        drop(waiting);
        if waited.is_err() {
            // A worker that is stuck would have one for each call that gives up. If this fails, it
            // is running, or the end of the worker drops it.
            let _ = self.cancel(&flush);
            if flush.done.is_done() {
                return Ok(());
            }
        }
        waited
    }

    /// Takes a node out of the queue, if it is pending, and waits until it is not running. Returns
    /// whether it was pending.
    ///
    /// # Errors
    ///
    /// As `limit` says; then nothing was done. [`EDEADLK`] if the worker waits for the current
    /// thread, or is the current thread, and is running the node. If it was pending, it still is.
    ///
    /// # Safety
    ///
    /// The node must be valid and bound to this queue, which must have a user.
    unsafe fn cancel_node(&self, node: NonNull<Node>, limit: Limit) -> Result<bool> {
        // SAFETY: The node is valid by the function's contract.
        let (work, delayed) = unsafe { (work_of(node), node.as_ref().delayed) };
        let worker = self.worker.get();
        let begin = |may_wait| {
            let mut running = false;
            // SAFETY: By the function's contract the node is valid, and was given to no other
            // worker but this one, which is there.
            let pending = unsafe {
                bindings::tether_kthread_cancel_begin(worker, work, delayed, may_wait, &mut running)
            };
            (pending, running)
        };
        if let (pending, false) = begin(false) {
            return Ok(pending);
        }
        // It is running, and nothing has been done.
        let _waiting = self.waits.wait_for(limit)?;
        if !matches!(limit, Limit::None) || self.must_look_around() {
            let mut was_pending = false;
            self.poll_until(limit, || {
                let (pending, running) = begin(false);
                was_pending = pending;
                !running
            })?;
            return Ok(was_pending);
        }
        let (pending, running) = begin(true);
        if running {
            // SAFETY: `work` is valid, and was found running by `begin`.
            unsafe { bindings::tether_kthread_cancel_end(worker, work) };
        }
        Ok(pending)
    }

    /// Waits until the item is neither pending nor running. If its delay is not over, it ends now.
    ///
    /// If the item enqueues itself again, or others do, it may be pending anew when this returns.
    ///
    /// # Context
    ///
    /// Process context; sleeps uninterruptibly, for as long as the works before the item take.
    ///
    /// # Errors
    ///
    /// As [`Queue::flush`].
    #[doc(alias = "kthread_flush_work")]
    pub fn flush_work<T, const ID: u64>(&self, item: &Arc<T>) -> Result
    where
        Arc<T>: KthreadWorkPointer<ID>,
        T: HasKthreadWork<T, ID>,
    {
        self.flush_work_within(item, Limit::None)
    }

    /// As [`Queue::flush_work`], and [`EINTR`] if the current task is being killed, or is a
    /// thread that is asked to stop.
    pub fn flush_work_killable<T, const ID: u64>(&self, item: &Arc<T>) -> Result
    where
        Arc<T>: KthreadWorkPointer<ID>,
        T: HasKthreadWork<T, ID>,
    {
        self.flush_work_within(item, Limit::Killed)
    }

    /// As [`Queue::flush_work_killable`], and [`ETIMEDOUT`] if the item has not run within `time`.
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
        // SAFETY: `item` keeps the node valid.
        let node = unsafe { node_of::<T, ID>(Arc::as_ptr(item).cast_mut()) };
        if !self.has(node) {
            return Ok(());
        }
        let is_busy = || {
            // SAFETY: The node is valid, and was given to no other worker but this one, which is
            // there.
            unsafe { bindings::tether_kthread_work_busy(self.worker.get(), work_of(node)) }
        };
        if !is_busy() {
            return Ok(());
        }
        let _waiting = self.waits.wait_for(limit)?;
        if !matches!(limit, Limit::None) || self.must_look_around() {
            // SAFETY: The node is valid.
            if unsafe { node.as_ref() }.delayed {
                // SAFETY: The node is valid, its work is a delayed one, and it was given to no
                // other worker but this one, which is there.
                unsafe {
                    bindings::tether_kthread_end_delay(self.worker.get(), delayed_work_of(node))
                };
            }
            return self.poll_until(limit, || !is_busy());
        }
        // `kthread_flush_work()` never returns for a work whose delay is not over.
        //
        // SAFETY: The node is valid.
        if !unsafe { node.as_ref() }.delayed {
            // SAFETY: The node is valid, and was given to no other worker but this one, which is
            // there.
            unsafe { bindings::kthread_flush_work(work_of(node)) };
            return Ok(());
        }
        // SAFETY: The node is valid, its work is a delayed one, and it was given to no other worker
        // but this one, which is there.
        unsafe { bindings::tether_kthread_end_delay(self.worker.get(), delayed_work_of(node)) };
        // SAFETY: The worker is there, with its thread, as it is not closed.
        unsafe { bindings::kthread_flush_worker(self.worker.get()) };
        Ok(())
    }

    /// Takes an item back if it is pending, and waits until it is not running.
    ///
    /// The item cannot be enqueued while this waits.
    ///
    /// # Context
    ///
    /// Process context; sleeps uninterruptibly if the item is running, for as long as that takes.
    ///
    /// # Errors
    ///
    /// * [`EDEADLK`] if the item is running, and this is called by its own callback, by a thread
    ///   that the worker waits for, or in an interrupt. An item that is pending as well stays
    ///   pending;
    /// * [`ENODEV`] if the module of the worker is going.
    #[doc(alias = "kthread_cancel_work_sync")]
    #[doc(alias = "kthread_cancel_delayed_work_sync")]
    pub fn cancel<T, const ID: u64>(&self, item: &Arc<T>) -> Result<Option<Arc<T>>>
    where
        Arc<T>: KthreadWorkPointer<ID>,
        T: HasKthreadWork<T, ID>,
    {
        self.cancel_within(item, Limit::None)
    }

    /// As [`Queue::cancel`], and [`EINTR`] if the current task is being killed, or is a
    /// thread that is asked to stop. An item that is pending then stays
    /// pending.
    ///
    /// The item may be enqueued while this waits. An item that enqueues itself may run several
    /// times before it is cancelled.
    pub fn cancel_killable<T, const ID: u64>(&self, item: &Arc<T>) -> Result<Option<Arc<T>>>
    where
        Arc<T>: KthreadWorkPointer<ID>,
        T: HasKthreadWork<T, ID>,
    {
        self.cancel_within(item, Limit::Killed)
    }

    /// As [`Queue::cancel_killable`], and [`ETIMEDOUT`] if the item is running for longer than
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
        // SAFETY: `item` keeps the node valid.
        let node = unsafe { node_of::<T, ID>(Arc::as_ptr(item).cast_mut()) };
        let Some(_user) = self.enter() else {
            // The task that ends the worker drops what is pending.
            return match self.closed_error() {
                error if error == ENODEV => Err(error),
                _ => Ok(None),
            };
        };
        if !self.has(node) {
            return Ok(None);
        }
        // SAFETY: The node is valid and bound to this queue, which has a user.
        let pending = unsafe { self.cancel_node(node, limit) }?;
        // SAFETY: If it was pending then a reference was given up for it, and is ours.
        Ok(pending.then(|| unsafe { <Arc<T> as KthreadWorkPointer<ID>>::from_node(node) }))
    }
}

/// A work that tells when the works before it have run.
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
