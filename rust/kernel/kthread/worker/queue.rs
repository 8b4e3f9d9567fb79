// SPDX-License-Identifier: GPL-2.0

//! The queue of a worker: enqueueing items.

use super::{
    impl_has_kthread_work,
    work::{
        delayed_work_of,
        work_of, //
    },
    KthreadDelayedWorkPointer,
    KthreadWork,
    KthreadWorkItem,
    KthreadWorkPointer,
    Node,
    Vtable,
    WorkContext, //
};
use crate::{
    alloc::Flags,
    bindings,
    container_of,
    kthread::{
        policy::PolicyLock,
        start::Start,
        waits::{
            self,
            Waits, //
        }, //
    },
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc, //
    },
    task::Task,
    tether::{
        inc_unless_negative_i32,
        load_acquire,
        Attachment,
        AttachmentOps, //
        Owner,
        Refused,
        MAX_JIFFY_OFFSET,
    },
    time::Jiffies,
    types::Opaque,
    workqueue, //
};
use core::{
    cell::Cell,
    ptr::{
        self,
        NonNull, //
    }, //
};

/// The queue of a worker, on which works are enqueued.
///
/// # Invariants
///
/// * `users` counts the tasks that use `worker`. A task is counted from before it checks whether
///   the queue is closed until after its last access to `worker`. `users` is negative after the
///   queue was closed.
/// * `task` is the worker's thread, to which the queue holds a reference. It is null if the thread
///   could not be created.
/// * `leftover` is the head of a list of works that were pending when the worker ended. Only the
///   task that ends the worker uses it.
/// * If `ended` is set, no task uses `worker` any more, and neither `worker` nor `leftover`
///   contains a work.
#[pin_data(PinnedDrop)]
pub struct Queue {
    #[pin]
    pub(super) attachment: Attachment,
    #[pin]
    pub(super) worker: Opaque<bindings::kthread_worker>,
    #[pin]
    pub(super) leftover: Opaque<bindings::list_head>,
    pub(super) users: Atomic<i32>,
    pub(super) task: Atomic<*mut bindings::task_struct>,
    pub(super) start: Start,
    pub(super) waits: Waits,
    #[pin]
    pub(super) policy_lock: PolicyLock,
    pub(super) ended: Atomic<bool>,
    /// Set if module teardown ends the worker.
    pub(super) torn_down: Atomic<bool>,
    /// Set if the works are interrupted, because the worker or the module is being torn down.
    pub(super) asked: Atomic<bool>,
    /// Ends the worker if it cannot be ended where it was dropped, for example in one of its own
    /// works.
    #[pin]
    pub(super) reaper: workqueue::Work<Queue>,
}

// SAFETY: The fields that change are atomic, or protected by the lock of `worker`; `leftover` is
// only used by the task that ends the worker. All of them may be freed by any task.
unsafe impl Send for Queue {}
// SAFETY: The fields that change are atomic, or protected by the lock of `worker`; `leftover` is
// only used by the task that ends the worker.
unsafe impl Sync for Queue {}

workqueue::impl_has_work! {
    impl HasWork<Self> for Queue { self.reaper }
}

impl workqueue::WorkItem for Queue {
    type Pointer = Arc<Queue>;

    fn run(this: Arc<Queue>) {
        this.end_attached();
    }
}

/// Added to [`Queue::users`] when the queue is closed.
pub(super) const CLOSED: i32 = i32::MIN;

/// A guard that keeps the worker of a queue from being ended.
pub(super) struct User<'a>(&'a Queue);

impl Drop for User<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Release);
    }
}

impl Queue {
    pub(super) const ATTACHMENT_OPS: &'static AttachmentOps = &AttachmentOps {
        kind: "worker",
        name: || "KthreadWorker",
        request: Some(Self::request_end),
        end: Self::end_leaked,
        discard: Some(Self::discard_leaked),
        release: Some(Self::release),
    };

    /// Returns the queue that contains a worker.
    ///
    /// # Safety
    ///
    /// `worker` must be that of a queue, which must be valid for `'a`.
    pub(super) unsafe fn from_worker<'a>(worker: *mut bindings::kthread_worker) -> &'a Self {
        let worker = Opaque::cast_from(worker).cast_mut();
        // SAFETY: By the function's contract `worker` is a field of a queue that is valid for `'a`.
        unsafe { &*container_of!(worker, Self, worker) }
    }

    /// Returns the queue that contains an attachment.
    ///
    /// # Safety
    ///
    /// `attachment` must be that of a queue, which must be valid for `'a`.
    pub(super) unsafe fn from_attachment<'a>(attachment: *const Attachment) -> &'a Self {
        // SAFETY: By the function's contract `attachment` is a field of a queue that is valid for
        // `'a`.
        unsafe { &*container_of!(attachment.cast_mut(), Self, attachment) }
    }

    /// Returns the node of the worker in the graph of waits.
    ///
    /// # Safety
    ///
    /// `this` must point to a valid queue.
    pub(in crate::kthread) unsafe fn waits_of(this: *const Self) -> *const Waits {
        // SAFETY: By the function's contract `this` is valid, so that its field is in the same
        // allocation.
        unsafe { &raw const (*this).waits }
    }

    pub(super) fn task(&self) -> &Task {
        // SAFETY: `task` is not null, because a queue without a thread is not passed to any other
        // code. By the type's invariants the queue holds a reference to it. `Task` is a transparent
        // wrapper of `task_struct`.
        unsafe { &*self.task.load(Relaxed).cast() }
    }

    /// Returns whether the current task is the worker's thread.
    pub(super) fn is_current(&self) -> bool {
        ptr::eq(Task::current_raw(), self.task.load(Relaxed))
    }

    /// Returns the error of a call on a closed queue.
    #[cold]
    pub(super) fn closed_error(&self) -> Error {
        if self.torn_down.load(Relaxed) {
            ENODEV
        } else {
            ESHUTDOWN
        }
    }

    /// Keeps the queue from being closed. Returns [`None`] if it is closed.
    #[inline]
    pub(super) fn enter(&self) -> Option<User<'_>> {
        // `users` of a closed queue is negative, and is not changed: the task that ends the worker
        // waits until no user is counted.
        inc_unless_negative_i32(&self.users).then(|| User(self))
    }

    /// Keeps the queue from being closed, like [`Queue::enter`], if `node` is bound to this queue.
    ///
    /// # Errors
    ///
    /// [`EXDEV`] if the node is bound to another queue or to none; [`ESHUTDOWN`] if this queue is
    /// closed.
    ///
    /// # Safety
    ///
    /// `node` must be valid.
    #[inline(always)]
    unsafe fn enter_with(&self, node: NonNull<Node>) -> Result<User<'_>> {
        // Pairs with the release store in `bind()`: the work is initialised.
        //
        // SAFETY: The node is valid by the function's contract.
        if !ptr::eq(load_acquire(unsafe { &(*node.as_ptr()).bound }), self) {
            return Err(EXDEV);
        }
        self.enter().ok_or(ESHUTDOWN)
    }

    /// Converts `item` to its node, and calls `queue` to queue the node. Returns the result of
    /// `queue`. In the case of an error, converts the node back to the item.
    #[inline]
    fn enqueue_by<P, T, const ID: u64>(
        &self,
        item: P,
        queue: impl Fn(&Self, NonNull<Node>) -> Result<T>,
    ) -> Result<T, Refused<P>>
    where
        P: KthreadWorkPointer<ID>,
    {
        let node = item.into_node();
        match queue(self, node) {
            Ok(queued) => Ok(queued),
            Err(error) => self.enqueue_failed(node, error, queue),
        }
    }

    /// Handles an error of `queue`. If the node is not bound to this queue yet, binds it and tries
    /// again.
    #[cold]
    #[inline(never)]
    fn enqueue_failed<P, T, const ID: u64>(
        &self,
        node: NonNull<Node>,
        mut error: Error,
        queue: impl Fn(&Self, NonNull<Node>) -> Result<T>,
    ) -> Result<T, Refused<P>>
    where
        P: KthreadWorkPointer<ID>,
    {
        if error == EXDEV {
            // SAFETY: The node is valid, because the item was given up for it and it was not
            // queued.
            let bound = self.bind(unsafe { node.as_ref() }, P::VTABLE);
            error = match bound.and_then(|()| queue(self, node)) {
                Ok(queued) => return Ok(queued),
                Err(error) => error,
            };
        }
        // SAFETY: `from_node()` requires a node that comes from `into_node()` and is used once. The
        // caller has given the item up, and the node was not queued.
        let item = unsafe { P::from_node(node) };
        if error == ESHUTDOWN {
            error = self.closed_error();
        }
        Err(Refused::new(item, error))
    }

    /// Binds the node to this queue.
    ///
    /// `vtable` is that of the caller's pointer. Its text is mapped, because the caller uses it;
    /// the module that created the item may have been unloaded.
    #[cold]
    fn bind(&self, node: &Node, vtable: &'static Vtable) -> Result {
        // Look up the function and not the vtable: constants of two modules may be merged.
        // Functions in permanent text are always accepted.
        match Owner::of(vtable.run as *const ()) {
            Ok(owner) if owner.is_permanent() || ptr::eq(owner, self.attachment.owner()) => {}
            _ => return Err(EINVAL),
        }
        let before = {
            let _lock = waits::lock();
            let before = node.bound.load(Relaxed);
            if ptr::eq(before, self) {
                return Ok(());
            }
            // SAFETY: By the invariants of `Node`, `before` is null or a queue to which the node
            // holds a reference. The lock is held, so that the node is not bound to another queue
            // meanwhile.
            if unsafe { before.as_ref() }.is_some_and(|queue| !queue.ended.load(Acquire)) {
                return Err(EXDEV);
            }
            // INVARIANT: `vtable` is in the text of the queue's module or in permanent text.
            // `bound` is set below under the lock, to a queue with a reference.
            node.vtable.set(vtable);
            // SAFETY: `work_of()` requires a valid node, which `node` is.
            let work = unsafe { work_of(NonNull::from(node)) };
            // The kernel binds a work to the first worker that queues it.
            //
            // SAFETY: The node is not bound, or its queue has ended, so that the work is in no
            // worker. The lock is held, so that no other task writes these fields.
            unsafe {
                (*work).worker = ptr::null_mut();
                (*work).func = Some(vtable.run);
            }
            // SAFETY: A queue is always in an `Arc`, and `self` keeps it valid. The reference that
            // `from_raw()` assumes is not dropped; the clone becomes the node's reference.
            let this = unsafe { Arc::from_raw(self) };
            let _ = Arc::into_raw(this.clone());
            // Pairs with the acquire load of a task that finds the node bound to this queue and
            // relies on the stores above.
            node.bound.store(Arc::into_raw(this), Release);
            before
        };
        if !before.is_null() {
            // SAFETY: `from_raw()` requires a reference that is ours. The node held it, and has
            // been bound to another queue.
            drop(unsafe { Arc::from_raw(before) });
        }
        Ok(())
    }

    /// Returns whether the node may be in this queue. If this returns false, it is not.
    pub(super) fn has(&self, node: NonNull<Node>) -> bool {
        // SAFETY: The caller has an item that keeps the node valid.
        ptr::eq(unsafe { node.as_ref() }.bound.load(Acquire), self)
    }

    /// Enqueues an item. The worker runs it after all items that were enqueued before.
    ///
    /// Does not allocate.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    ///
    /// # Errors
    ///
    /// The error returns the item, with
    ///
    /// * [`EBUSY`] if it is already pending, or is being cancelled;
    /// * [`EXDEV`] if it is bound to another worker;
    /// * [`ESHUTDOWN`] if the worker was dropped, [`ENODEV`] if its module is being removed;
    /// * [`EINVAL`] if its callback is not in the module that the worker was created for.
    #[doc(alias = "kthread_queue_work")]
    #[inline]
    pub fn enqueue<P, const ID: u64>(&self, item: P) -> Result<(), Refused<P>>
    where
        P: KthreadWorkPointer<ID>,
    {
        let node = item.into_node();
        // SAFETY: `queue_node()` requires a valid node that was given up. The item was just given
        // up for the node.
        match unsafe { self.queue_node(node) } {
            Ok(()) => Ok(()),
            Err(error) => self.enqueue_failed(node, error, |this, node| {
                // SAFETY: `queue_node_again()` requires a valid node that was given up. The item
                // was given up above, and the node was not queued.
                unsafe { this.queue_node_again(node) }
            }),
        }
    }

    /// Queues a node after it was bound. Not inlined into drivers, where this path is cold.
    ///
    /// # Safety
    ///
    /// The requirements are those of [`Queue::queue_node`].
    #[cold]
    #[inline(never)]
    unsafe fn queue_node_again(&self, node: NonNull<Node>) -> Result {
        // SAFETY: `queue_node()` has the requirements of this function, which the caller meets.
        unsafe { self.queue_node(node) }
    }

    /// Queues a node. Inlined into drivers, which takes about 20 instructions less than a call that
    /// saves the values for the three calls in here.
    ///
    /// # Safety
    ///
    /// `node` must be valid, and a pointer must have been given up for it. If this returns
    /// [`Ok`], the pointer belongs to the queue.
    #[inline(always)]
    unsafe fn queue_node(&self, node: NonNull<Node>) -> Result {
        // SAFETY: `enter_with()` requires a valid node, which is in the function's contract.
        let _user = unsafe { self.enter_with(node) }?;
        // SAFETY: `kthread_queue_work()` requires a valid worker, and a valid work that is used by
        // this worker only. The worker is not ended while `_user` exists. The pointer that was
        // given up keeps the node valid until it is run or released, and the node is bound to this
        // queue.
        if unsafe { bindings::kthread_queue_work(self.worker.get(), work_of(node)) } {
            Ok(())
        } else {
            Err(EBUSY)
        }
    }

    /// Enqueues an item after `delay`, in jiffies; immediately if `delay` is 0. Does not allocate.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    ///
    /// # Errors
    ///
    /// As for [`Queue::enqueue`].
    #[doc(alias = "kthread_queue_delayed_work")]
    pub fn enqueue_delayed<P, const ID: u64>(
        &self,
        item: P,
        delay: Jiffies,
    ) -> Result<(), Refused<P>>
    where
        P: KthreadDelayedWorkPointer<ID>,
    {
        self.enqueue_by(item, |this, node| {
            // SAFETY: `queue_delayed_node()` requires the node of a `DelayedNode` that was given
            // up. `P` is a `KthreadDelayedWorkPointer`, and `enqueue_by()` has just given the item
            // up.
            unsafe { this.queue_delayed_node(node, delay) }
        })
    }

    /// Queues a delayed node. Not inlined into drivers.
    ///
    /// # Safety
    ///
    /// `node` must be that of a valid `DelayedNode`, and a pointer must have been given up for it.
    /// If this returns [`Ok`], the pointer belongs to the queue.
    #[inline(never)]
    unsafe fn queue_delayed_node(&self, node: NonNull<Node>, delay: Jiffies) -> Result {
        let delay = delay.min(MAX_JIFFY_OFFSET);
        // SAFETY: `enter_with()` requires a valid node, which is in the function's contract.
        let _user = unsafe { self.enter_with(node) }?;
        // SAFETY: `kthread_queue_delayed_work()` requires a valid worker, and a valid delayed work
        // that is used by this worker only. The worker is not ended while `_user` exists. By the
        // function's contract the node is a `DelayedNode` with a pointer that was given up, which
        // keeps the node valid until it is run or released, and it is bound to this queue.
        if unsafe {
            bindings::kthread_queue_delayed_work(self.worker.get(), delayed_work_of(node), delay)
        } {
            Ok(())
        } else {
            Err(EBUSY)
        }
    }

    /// Queues a delayed node, or changes the delay of a pending node. Returns whether the node was
    /// pending. Not inlined into drivers.
    ///
    /// # Safety
    ///
    /// `node` must be that of a valid `DelayedNode`, and a pointer must have been given up for it.
    /// If this returns `Ok(false)`, the pointer belongs to the queue.
    #[inline(never)]
    unsafe fn queue_or_modify_node(&self, node: NonNull<Node>, delay: Jiffies) -> Result<bool> {
        // SAFETY: `enter_with()` requires a valid node, which is in the function's contract.
        let _user = unsafe { self.enter_with(node) }?;
        // SAFETY: `modify_node()` requires a valid `DelayedNode` that is bound to this queue, with
        // a pointer that was given up, and a user of the queue. `enter_with()` has found the node
        // bound to this queue, `_user` is the user, and the rest is in the function's contract.
        unsafe { self.modify_node(node, delay) }
    }

    /// Enqueues an item after `delay`, in jiffies, or changes the delay of a pending item. In the
    /// latter case `item`, which is not needed, is returned. If another task cancels the item
    /// concurrently, `item` may be returned as well. Does not allocate.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    ///
    /// # Errors
    ///
    /// As for [`Queue::enqueue`], except [`EBUSY`].
    #[doc(alias = "kthread_mod_delayed_work")]
    pub fn modify_delayed<P, const ID: u64>(
        &self,
        item: P,
        delay: Jiffies,
    ) -> Result<Option<P>, Refused<P>>
    where
        P: KthreadDelayedWorkPointer<ID>,
    {
        let given = Cell::new(None);
        let queued = self.enqueue_by(item, |this, node| {
            given.set(Some(node));
            // SAFETY: `queue_or_modify_node()` requires the node of a `DelayedNode` that was given
            // up. `P` is a `KthreadDelayedWorkPointer`, and `enqueue_by()` has just given the item
            // up.
            unsafe { this.queue_or_modify_node(node, delay) }
        });
        match queued {
            Ok(false) => Ok(None),
            // The item was pending already, with another pointer that was given up for it.
            //
            // SAFETY: `from_node()` requires a node that was given up. `item` was given up above,
            // and the queue does not use this pointer.
            Ok(true) => Ok(given.get().map(|node| unsafe { P::from_node(node) })),
            // Another task is cancelling the item.
            Err(refused) if refused.error == EBUSY => Ok(Some(refused.item)),
            Err(refused) => Err(refused),
        }
    }

    /// Boxes `func` and enqueues it.
    ///
    /// # Context
    ///
    /// Any context but NMI in which memory may be allocated with `flags`.
    ///
    /// # Errors
    ///
    /// The error returns the closure, with [`ENOMEM`] if it could not be boxed, or an error of
    /// [`Queue::enqueue`].
    pub fn try_spawn<F>(&self, flags: Flags, func: F) -> Result<(), Refused<F>>
    where
        F: FnOnce(&WorkContext<'_>) + Send + 'static,
    {
        let Ok(memory) = KBox::<ClosureWork<F>>::new_uninit(flags) else {
            return Err(Refused::new(func, ENOMEM));
        };
        let init = pin_init!(ClosureWork {
            work <- KthreadWork::new(),
            func: Some(func),
        });
        let closure = match memory.write_pin_init(init) {
            Ok(closure) => closure,
            Err(never) => match never {},
        };
        self.enqueue(closure).map_err(|refused| {
            refused.map(|mut closure| match closure.as_mut().project().func.take() {
                Some(func) => func,
                // `func` is only taken when the item is run.
                None => unreachable!(),
            })
        })
    }
}

/// A boxed closure that can be enqueued.
#[pin_data]
struct ClosureWork<F> {
    #[pin]
    work: KthreadWork<ClosureWork<F>>,
    func: Option<F>,
}

impl_has_kthread_work! {
    impl{F} HasKthreadWork<Self> for ClosureWork<F> { self.work }
}

impl<F> KthreadWorkItem for ClosureWork<F>
where
    F: FnOnce(&WorkContext<'_>) + Send + 'static,
{
    type Pointer = Pin<KBox<Self>>;

    fn run(mut this: Pin<KBox<Self>>, context: &WorkContext<'_>) {
        if let Some(func) = this.as_mut().project().func.take() {
            func(context);
        }
    }
}
