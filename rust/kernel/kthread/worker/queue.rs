// SPDX-License-Identifier: GPL-2.0

//! The queue of a worker: queueing items.

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
            Full,
            Relaxed,
            Release, //
        },
        Arc, //
    },
    task::Task,
    tether::{
        Attachment,
        Owner,
        Refused,
        What, //
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
/// * `users` counts the tasks that use `worker`, each from before it has looked whether the queue
///   is closed until it does not touch it any more; it is negative once that is closed.
/// * `task` is the worker's thread, to which a reference is held, or null if it could not be made.
/// * `leftover` is the head of a list of works that were pending when the worker ended. Only the
///   task that ends the worker uses it.
/// * When `ended` is set no task uses `worker` any more, and there is nothing in it nor in
///   `leftover`.
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
    pub(super) ended: Atomic<bool>,
    /// The end of the module has found the worker.
    pub(super) torn_down: Atomic<bool>,
    /// Its works are interrupted: it ends, or the module does.
    pub(super) asked: Atomic<bool>,
    /// Ends the worker, if it was dropped by a work of its own.
    #[pin]
    pub(super) reaper: workqueue::Work<Queue>,
}

// SAFETY: The fields are atomic, or protected by the lock of `worker`.
unsafe impl Send for Queue {}
// SAFETY: As above.
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

/// What [`Queue::users`] has more when the queue is closed.
pub(super) const CLOSED: i32 = i32::MIN;

/// Keeps a queue from being closed.
pub(super) struct User<'a>(&'a Queue);

impl Drop for User<'_> {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Release);
    }
}

impl Queue {
    pub(super) const WHAT: &'static What = &What {
        kind: "worker",
        name: || "KthreadWorker",
        request: Some(Self::request_end),
        end: Self::end_leaked,
        discard: Some(Self::discard_leaked),
        release: Some(Self::release),
    };

    /// The queue of a worker.
    ///
    /// # Safety
    ///
    /// It must be that of a queue, which must be there for `'a`.
    pub(super) unsafe fn from_worker<'a>(worker: *mut bindings::kthread_worker) -> &'a Self {
        let worker = Opaque::cast_from(worker).cast_mut();
        // SAFETY: By the function's contract.
        unsafe { &*container_of!(worker, Self, worker) }
    }

    /// The queue of an attachment.
    ///
    /// # Safety
    ///
    /// It must be that of a queue, which must be there for `'a`.
    pub(super) unsafe fn from_attachment<'a>(attachment: *const Attachment) -> &'a Self {
        // SAFETY: By the function's contract.
        unsafe { &*container_of!(attachment.cast_mut(), Self, attachment) }
    }

    /// The node of the worker in the graph of waits.
    ///
    /// # Safety
    ///
    /// `this` must be valid.
    pub(in crate::kthread) unsafe fn waits_of(this: *const Self) -> *const Waits {
        // SAFETY: By the function's contract.
        unsafe { &raw const (*this).waits }
    }

    pub(super) fn task(&self) -> &Task {
        // SAFETY: By the type's invariants it is valid: nobody else has a queue without one. `Task`
        // is transparent.
        unsafe { &*self.task.load(Relaxed).cast() }
    }

    /// Whether we are in one of its works.
    pub(super) fn is_current(&self) -> bool {
        ptr::eq(Task::current_raw(), self.task.load(Relaxed))
    }

    /// Why a closed queue refuses.
    #[cold]
    pub(super) fn closed_error(&self) -> Error {
        if self.torn_down.load(Relaxed) {
            ENODEV
        } else {
            ESHUTDOWN
        }
    }

    /// Keeps the queue from being closed, if it is not.
    pub(super) fn enter(&self) -> Option<User<'_>> {
        // A closed queue is left alone: its end waits until no task is counted.
        if self.users.load(Relaxed) < 0 {
            return None;
        }
        let user = User(self);
        (self.users.fetch_add(1, Full) >= 0).then_some(user)
    }

    /// Gives `item` up for its node, and gives that to `queue`; or takes it back. Returns what
    /// `queue` does, if that is no error.
    #[inline]
    fn enqueue_by<P, const ID: u64>(
        &self,
        item: P,
        queue: impl Fn(&Self, NonNull<Node>) -> c_int,
    ) -> Result<c_int, Refused<P>>
    where
        P: KthreadWorkPointer<ID>,
    {
        let node = item.into_node();
        let ret = queue(self, node);
        if ret >= 0 {
            return Ok(ret);
        }
        self.enqueue_failed(node, ret, queue)
    }

    /// The node was not queued. Perhaps it is not bound yet.
    #[cold]
    #[inline(never)]
    fn enqueue_failed<P, const ID: u64>(
        &self,
        node: NonNull<Node>,
        mut ret: c_int,
        queue: impl Fn(&Self, NonNull<Node>) -> c_int,
    ) -> Result<c_int, Refused<P>>
    where
        P: KthreadWorkPointer<ID>,
    {
        if ret == EXDEV.to_errno() {
            // SAFETY: The node is valid, as it was not queued.
            ret = match self.bind(unsafe { node.as_ref() }, P::VTABLE) {
                Ok(()) => queue(self, node),
                Err(error) => error.to_errno(),
            };
            if ret >= 0 {
                return Ok(ret);
            }
        }
        // SAFETY: It was given up for its node by the caller, and was not queued.
        let item = unsafe { P::from_node(node) };
        let error = match Error::from_errno(ret) {
            error if error == ESHUTDOWN => self.closed_error(),
            error => error,
        };
        Err(Refused::new(item, error))
    }

    /// Lets the node be queued here.
    ///
    /// `vtable` is that of the pointer that the caller has: its text is there, whichever module has
    /// made the item.
    #[cold]
    fn bind(&self, node: &Node, vtable: &'static Vtable) -> Result {
        // The vtable's address would not do: constants of two modules may be one. Functions of
        // Tether's own stay.
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
            // SAFETY: By the invariants of `Node` it holds a reference to what it is bound to, if
            // it is; the lock is held.
            if unsafe { before.as_ref() }.is_some_and(|queue| !queue.ended.load(Acquire)) {
                return Err(EXDEV);
            }
            node.vtable.set(vtable);
            // SAFETY: The queue that it was bound to has ended, or there was none: it is not
            // pending, and no other task uses it while the lock is held.
            unsafe {
                bindings::tether_kthread_work_unbind(work_of(NonNull::from(node)), Some(vtable.run))
            };
            // SAFETY: A queue is always in an `Arc`. The reference is the node's.
            let this = unsafe { Arc::from_raw(self) };
            let _ = Arc::into_raw(this.clone());
            // Pairs with the acquire operation of a task that finds the node bound, and that relies
            // on the steps above.
            node.bound.store(Arc::into_raw(this), Release);
            before
        };
        if !before.is_null() {
            // SAFETY: The reference was the node's.
            drop(unsafe { Arc::from_raw(before) });
        }
        Ok(())
    }

    /// Whether the node may be here; else it is certainly not.
    pub(super) fn has(&self, node: NonNull<Node>) -> bool {
        // SAFETY: The caller has an item that keeps the node.
        ptr::eq(unsafe { node.as_ref() }.bound.load(Acquire), self)
    }

    /// Enqueues an item, which the worker will run when it has run what is before it.
    ///
    /// Nothing is allocated.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    ///
    /// # Errors
    ///
    /// The item comes back with
    ///
    /// * [`EBUSY`] if it is pending already, or is being cancelled;
    /// * [`EXDEV`] if it is bound to another worker;
    /// * [`ESHUTDOWN`] if the worker was dropped, [`ENODEV`] if its module is going;
    /// * [`EINVAL`] if its callback is not in the module that the worker was made for.
    #[doc(alias = "kthread_queue_work")]
    #[inline]
    pub fn enqueue<P, const ID: u64>(&self, item: P) -> Result<(), Refused<P>>
    where
        P: KthreadWorkPointer<ID>,
    {
        self.enqueue_by(item, |this, node| {
            // SAFETY: The node is valid, and the item was given up for it: it stays so until it is
            // run or released. It is queued only if it is bound to this queue.
            unsafe {
                bindings::tether_kthread_queue_work(
                    this.worker.get(),
                    work_of(node),
                    this.users.as_ptr().cast(),
                    (&raw const (*node.as_ptr()).bound).cast(),
                    ptr::from_ref(this).cast_mut().cast(),
                )
            }
        })
        .map(|_| ())
    }

    /// Enqueues an item after a delay, in jiffies; at once if that is 0. Nothing is allocated.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    ///
    /// # Errors
    ///
    /// As [`Queue::enqueue`].
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
            // SAFETY: The node is that of a delayed work, and was just given up.
            unsafe { this.queue_delayed(node, delay) }
        })
        .map(|_| ())
    }

    /// Queues a delayed work.
    ///
    /// # Safety
    ///
    /// `node` must be that of a [`DelayedNode`] which was given up; if this succeeds with 0, it is
    /// given away.
    unsafe fn queue_delayed(&self, node: NonNull<Node>, delay: Jiffies) -> c_int {
        // SAFETY: The node is valid, and stays so until it is run or released. It is queued only if
        // it is bound to this queue.
        unsafe {
            bindings::tether_kthread_queue_delayed_work(
                self.worker.get(),
                delayed_work_of(node),
                self.users.as_ptr().cast(),
                (&raw const (*node.as_ptr()).bound).cast(),
                ptr::from_ref(self).cast_mut().cast(),
                delay,
            )
        }
    }

    /// Enqueues an item after a delay, in jiffies, or changes the delay of one that is pending;
    /// then `item`, which is not needed, is returned. If another task cancels the item at the same
    /// time, it may be returned as well. Nothing is allocated.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    ///
    /// # Errors
    ///
    /// As [`Queue::enqueue`], but for [`EBUSY`].
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
            // SAFETY: The node is that of a delayed work and valid, and the item was given up for
            // it: it stays so until it is run or released. It is queued only if it is bound to this
            // queue.
            unsafe {
                bindings::tether_kthread_mod_delayed_work(
                    this.worker.get(),
                    delayed_work_of(node),
                    this.users.as_ptr().cast(),
                    (&raw const (*node.as_ptr()).bound).cast(),
                    ptr::from_ref(this).cast_mut().cast(),
                    delay,
                )
            }
        });
        match queued {
            Ok(0) => Ok(None),
            // It was pending, with another pointer that was given up for that.
            //
            // SAFETY: The pointer that was given up above is not used by the queue.
            Ok(_) => Ok(given.get().map(|node| unsafe { P::from_node(node) })),
            // Another task cancels it.
            Err(refused) if refused.error == EBUSY => Ok(Some(refused.item)),
            Err(refused) => Err(refused),
        }
    }

    /// Boxes `func`, and enqueues it.
    ///
    /// # Context
    ///
    /// Any context but NMI in which memory may be allocated with `flags`.
    ///
    /// # Errors
    ///
    /// The closure comes back with [`ENOMEM`] if it could not be boxed, or as [`Queue::enqueue`]
    /// says.
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
                // It is only taken where it is run.
                None => unreachable!(),
            })
        })
    }
}

/// A closure that is enqueued.
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
