// SPDX-License-Identifier: GPL-2.0

//! Threads that run works from a queue.
//!
//! A [`KthreadWorker`] is a dedicated thread that runs *works* one after the other, in the order in
//! which they were queued; [`kernel::workqueue`](crate::workqueue) uses shared threads instead. The
//! interfaces are similar: an item has a [`KthreadWork`] field and a [`run`](KthreadWorkItem::run)
//! function, and is [enqueued](Queue::enqueue).
//!
//! # Vocabulary
//!
//! * An *item* is queued. It is a `Pin<KBox<T>>` or an [`Arc<T>`] if `T` has a [`KthreadWork`]
//!   field, which links the item without an allocation; or it is a closure, which is boxed.
//! * An item is *pending* from the time it is enqueued, or its delay begins, until it begins to
//!   run.
//! * An item is *bound* to the worker that it was first enqueued on, until that worker has ended.
//!
//! # Guarantees
//!
//! * An item that was enqueued runs once, unless it is cancelled, or its worker is dropped before;
//!   in the latter case the item is dropped. If an item cannot be enqueued, the error returns it.
//! * No item runs after its worker was dropped: dropping a worker waits for the running item. A
//!   worker does not keep its module loaded; if it was leaked, it is ended by module teardown.
//! * Two workers cannot have the same item: if an item is bound to another worker that has not
//!   ended, it is refused ([`EXDEV`]).
//! * A worker only runs works of its own module ([`EINVAL`]), because teardown of this module waits
//!   for the worker.
//! * A call that would wait for itself, directly or through other threads and workers, is refused
//!   ([`EDEADLK`]). If a worker is dropped in such a place, it is ended as soon as its work has
//!   returned.
//!
//! # Panics in a work
//!
//! A panic in a work is a `BUG()`: the thread of the worker exits, or the kernel panics. Tether
//! holds no lock while a work runs. The worker is stuck: `flush()`, `flush_work()` and `cancel()`
//! do not return, except their killable and timed forms. `rmmod` waits, and the log names the
//! worker.
//!
//! # Examples
//!
//! ```
//! use kernel::{
//!     kthread::{
//!         worker::{
//!             impl_has_kthread_work,
//!             KthreadWork,
//!             KthreadWorkItem,
//!             WorkContext, //
//!         },
//!         Builder, //
//!     },
//!     prelude::*,
//!     sync::{
//!         atomic::{
//!             Atomic,
//!             Relaxed, //
//!         },
//!         Arc, //
//!     }, //
//! };
//!
//! #[pin_data]
//! struct Count {
//!     value: Atomic<i32>,
//!     #[pin]
//!     work: KthreadWork<Count>,
//! }
//!
//! impl_has_kthread_work! {
//!     impl HasKthreadWork<Self> for Count { self.work }
//! }
//!
//! impl KthreadWorkItem for Count {
//!     type Pointer = Arc<Count>;
//!
//!     fn run(this: Arc<Count>, _context: &WorkContext<'_>) {
//!         this.value.fetch_add(1, Relaxed);
//!     }
//! }
//!
//! fn count(module: &'static ThisModule) -> Result<i32> {
//!     let worker = Builder::new(c"counter").worker(module)?;
//!     let count = Arc::pin_init(
//!         pin_init!(Count {
//!             value: Atomic::new(0),
//!             work <- KthreadWork::new(),
//!         }),
//!         GFP_KERNEL,
//!     )?;
//!     worker.enqueue(count.clone())?;
//!     worker.flush()?;
//!     Ok(count.value.load(Relaxed))
//! }
//! ```
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)

use super::{
    completion::Limit,
    context::with_mm,
    policy::PolicyLock,
    start::Start,
    waits::Waits,
    Builder,
    Plain, //
};
use crate::{
    bindings,
    mm::MmWithUser,
    prelude::*,
    static_lock_class,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    task::Task,
    tether::{
        list_head,
        Attachment,
        Owner, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    },
    workqueue, //
};
use core::{
    ops::Deref,
    ptr, //
};

// The external build includes the parent's file by a path, so that it needs the paths of the
// modules.
#[path = "worker/flush.rs"]
mod flush;
#[path = "worker/list.rs"]
mod list;
#[path = "worker/pointer.rs"]
mod pointer;
#[path = "worker/queue.rs"]
mod queue;
#[path = "worker/teardown.rs"]
mod teardown;
#[path = "worker/work.rs"]
mod work;

pub use pointer::{
    KthreadDelayedWorkPointer,
    KthreadWorkPointer, //
};
pub use queue::Queue;
pub(super) use teardown::main;
pub use work::{
    impl_has_kthread_delayed_work,
    impl_has_kthread_work,
    HasKthreadDelayedWork,
    HasKthreadWork,
    KthreadDelayedWork,
    KthreadWork,
    KthreadWorkItem, //
};
#[doc(hidden)]
pub use work::{
    DelayedNode,
    Node,
    Vtable, //
};

/// The context of a work's callback. A context cannot leave the callback.
///
/// # Invariants
///
/// A context is only reachable in a callback, in the thread of the worker that `queue` belongs to.
pub struct WorkContext<'a> {
    queue: &'a Queue,
    _not_send: NotThreadSafe,
}

impl WorkContext<'_> {
    /// Returns the queue of the worker that runs this callback, for works that enqueue further
    /// works or themselves.
    ///
    /// # Context
    ///
    /// Any context inside the callback.
    pub fn queue(&self) -> &Queue {
        self.queue
    }

    /// Calls `f` in the address space `mm`; see [`Context::with_mm`](super::Context::with_mm).
    ///
    /// # Context
    ///
    /// Process context; may sleep, because `f` may sleep.
    #[doc(alias = "kthread_use_mm")]
    pub fn with_mm<T: Send>(&self, mm: &MmWithUser, f: impl FnOnce() -> T + Send) -> T {
        // SAFETY: `with_mm()` requires a kernel thread that is not inside another call, and that is
        // interrupted after `is_asked()` returns true. By the type's invariants the current task is
        // the worker's thread; the context cannot be used inside of `f`. After setting `asked`,
        // `request_end()` and `end()` interrupt the running work.
        unsafe { with_mm(mm, || self.queue.is_asked(), f) }
    }

    /// Changes how the thread of the worker is scheduled, in this work and in later ones.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    ///
    /// # Errors
    ///
    /// Those of [`Context::set_policy`](super::Context::set_policy).
    pub fn set_policy(&self, policy: super::Policy) -> Result {
        // By the type's invariants, the current task is the thread of the worker.
        self.queue.policy_lock.change_own(policy)
    }
}

/// A thread that runs works, which are enqueued on its [`Queue`].
///
/// Dropping a worker waits for the running work and drops the pending works, which may sleep. To
/// run them first, call [`Queue::flush`]. If a worker is dropped by one of its own works, by a
/// thread that the worker waits for, or in an interrupt, it is ended later, by a workqueue.
pub struct KthreadWorker {
    queue: Arc<Queue>,
}

impl KthreadWorker {
    /// Returns the worker's task.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    pub fn task(&self) -> ARef<Task> {
        self.queue.task().into()
    }

    /// Changes how the thread of the worker is scheduled.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    ///
    /// # Errors
    ///
    /// * [`EINVAL`] if the niceness is out of range;
    /// * [`EINVAL`] if the policy is [`Policy::Deadline`](super::Policy::Deadline), and [`EBUSY`]
    ///   if that of the thread is: [`WorkContext::set_policy`] can change to it, and from it;
    /// * [`EDEADLK`] in an interrupt;
    /// * [`ENODEV`] if the worker is being ended or has ended.
    pub fn set_policy(&self, policy: super::Policy) -> Result {
        // The worker is not ended while a user is counted.
        let _user = self.queue.enter().ok_or(ENODEV)?;
        self.queue.policy_lock.change(self.queue.task(), policy)
    }
}

impl Deref for KthreadWorker {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        &self.queue
    }
}

impl Drop for KthreadWorker {
    fn drop(&mut self) {
        match self.queue.waits.wait_for(Limit::None) {
            Ok(_waiting) => self.queue.end_attached(),
            Err(_) => {
                // This thread would wait for itself. There is one `KthreadWorker` for each queue,
                // so that the queue is enqueued once.
                let _ = workqueue::system_unbound().enqueue(self.queue.clone());
            }
        }
    }
}

impl Builder<'_, Plain> {
    /// Starts a worker for works with callbacks in `module`. If the worker was leaked, it is ended
    /// when `module` is removed.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As for [`Builder::create`].
    #[doc(alias = "kthread_run_worker")]
    #[doc(alias = "kthread_create_worker_on_node")]
    #[doc(alias = "kthread_create_worker_on_cpu")]
    pub fn worker(self, module: &'static ThisModule) -> Result<KthreadWorker> {
        self.settings.check()?;
        let owner = Owner::of_module(module)?;
        let freezable = self.settings.freezable;
        // INVARIANT: The queue has no users and is not closed. `task` is null until the thread is
        // created, and `leftover` is empty.
        let queue = Arc::pin_init(
            pin_init!(Queue {
                attachment <- Attachment::new(owner, Queue::ATTACHMENT_OPS),
                worker <- Opaque::ffi_init(|slot: *mut bindings::kthread_worker| {
                    let key = static_lock_class!();
                    let name = c"tether::kthread::worker::Queue::worker";
                    // SAFETY: `__kthread_init_worker()` requires memory for a worker that does not
                    // move, and a name and a key that outlive it. `slot` is valid for writes and
                    // pinned; the name and the key are static.
                    unsafe {
                        bindings::__kthread_init_worker(slot, name.as_char_ptr(), key.as_ptr())
                    };
                    if freezable {
                        // SAFETY: `slot` is valid for writes, and the worker was initialised above.
                        unsafe { (*slot).flags = bindings::KTW_FREEZABLE };
                    }
                }),
                leftover <- list_head(),
                users: Atomic::new(0),
                task: Atomic::new(ptr::null_mut()),
                start: Start::new(),
                waits: Waits::new(),
                policy_lock <- PolicyLock::new(),
                ended: Atomic::new(false),
                torn_down: Atomic::new(false),
                asked: Atomic::new(false),
                reaper <- workqueue::new_work!("tether::kthread::worker::Queue::reaper"),
            }),
            GFP_KERNEL,
        )?;
        let create = || {
            let worker = queue.worker.get();
            let data = Arc::as_ptr(&queue).cast_mut().cast();
            // SAFETY: `create_task()` requires data that `main` expects, which is a queue that
            // stays valid until the thread has ended. The list's reference is only dropped after
            // the thread was stopped.
            let task = unsafe { self.settings.create_task(main, data) }?;
            // INVARIANT: `create_task()` has returned a task with a reference, which the queue owns
            // from here on.
            queue.task.store(task.as_ptr(), Relaxed);
            // SAFETY: The worker is initialised. The thread has not been started, and no other task
            // accesses the worker.
            unsafe { (*worker).task = task.as_ptr() };
            // This reference belongs to the owner's list.
            let _ = Arc::into_raw(queue.clone());
            queue.start.start();
            queue.task().wake_up();
            Ok(())
        };
        // SAFETY: `attach_and_request()` requires that the attachment stays valid until it is
        // detached or released. If `create` succeeds, the list has a reference to the queue.
        unsafe { queue.attachment.attach_and_request(create) }?;
        Ok(KthreadWorker { queue })
    }
}
