// SPDX-License-Identifier: GPL-2.0

//! Threads that run works from a queue.
//!
//! A [`KthreadWorker`] is a dedicated thread that runs *works* one after the other, in the order
//! in which they were queued: what [`kernel::workqueue`](crate::workqueue) does with threads that
//! are shared. It reads the same: an item has a [`KthreadWork`] field and a
//! [`run`](KthreadWorkItem::run), and is [enqueued](Queue::enqueue).
//!
//! # Vocabulary
//!
//! * An *item* is what is queued: a `Pin<KBox<T>>` or an [`Arc<T>`] whose `T` has a [`KthreadWork`]
//!   field, by which it is linked, so that nothing is allocated; or a closure, which is boxed.
//! * An item is *pending* from when it is enqueued, or its delay begins, until it begins to run.
//! * An item is *bound* to the worker that it was first enqueued on, until that is gone.
//!
//! # What holds
//!
//! * An item that was enqueued runs once, unless it is cancelled, or its worker is dropped before:
//!   then it is dropped. An item that is not enqueued comes back in the error.
//! * Nothing runs after its worker was dropped, which waits for what is running. A worker does not
//!   keep its module loaded; if it was leaked, it is ended when the module goes.
//! * Two workers do not get the same item: an item that is bound to another one, which is still
//!   there, is refused ([`EXDEV`]).
//! * A worker runs works of its own module only ([`EINVAL`]), as it is that module's end that waits
//!   for it.
//! * A call that would wait for itself, directly or through other threads and workers, is refused
//!   ([`EDEADLK`]); a worker that is dropped there is ended as soon as its work has returned.
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

// The paths are for the external build, whose root includes the file of the parent by a path.
#[path = "worker/flush.rs"]
mod flush;
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

/// The context of a work's callback. It cannot leave the callback.
///
/// # Invariants
///
/// It is only reachable in a callback, in the thread of the worker that `queue` is of.
pub struct WorkContext<'a> {
    queue: &'a Queue,
    _not_send: NotThreadSafe,
}

impl WorkContext<'_> {
    /// The queue of the worker that this runs in, for works that enqueue others, or themselves.
    ///
    /// # Context
    ///
    /// Any context inside the callback.
    pub fn queue(&self) -> &Queue {
        self.queue
    }

    /// Calls `f` in the address space `mm`, as [`Context::with_mm`](super::Context::with_mm) does.
    ///
    /// # Context
    ///
    /// Process context; may sleep, as `f` may.
    #[doc(alias = "kthread_use_mm")]
    pub fn with_mm<T: Send>(&self, mm: &MmWithUser, f: impl FnOnce() -> T + Send) -> T {
        // SAFETY: By the type's invariants we are in a kernel thread, and in no other scope of
        // this: the context has not got into one. The thread is interrupted after the queue was
        // closed or asked to end.
        unsafe { with_mm(mm, || self.queue.is_asked(), f) }
    }
}

/// A thread that runs works, which are enqueued on its [`Queue`].
///
/// Dropping it waits for the work that is running, and drops those that are pending: that may
/// sleep. ([`Queue::flush`] lets them run first.) If it is dropped by one of its own works, by a
/// thread that the worker waits for, or in an interrupt, the worker is ended later, by a workqueue.
pub struct KthreadWorker {
    queue: Arc<Queue>,
}

impl KthreadWorker {
    /// The worker's task.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    pub fn task(&self) -> ARef<Task> {
        self.queue.task().into()
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
                // This thread would wait for itself. The queue is enqueued once: there is one
                // worker.
                let _ = workqueue::system_unbound().enqueue(self.queue.clone());
            }
        }
    }
}

impl Builder<'_, Plain> {
    /// Starts a worker, for works whose callbacks are in `module`. When that goes, the worker is
    /// ended if it was leaked.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As [`Builder::create`].
    #[doc(alias = "kthread_run_worker")]
    #[doc(alias = "kthread_create_worker_on_node")]
    #[doc(alias = "kthread_create_worker_on_cpu")]
    pub fn worker(self, module: &'static ThisModule) -> Result<KthreadWorker> {
        self.settings.check()?;
        let owner = Owner::of_module(module)?;
        let freezable = self.settings.freezable;
        let queue = Arc::pin_init(
            pin_init!(Queue {
                attachment <- Attachment::new(owner, Queue::WHAT),
                worker <- Opaque::ffi_init(|slot: *mut bindings::kthread_worker| {
                    let key = static_lock_class!();
                    let name = c"tether::kthread::worker::Queue::worker";
                    // SAFETY: `slot` is valid for writes, and pinned; the key and the name are
                    // static.
                    unsafe {
                        bindings::__kthread_init_worker(slot, name.as_char_ptr(), key.as_ptr())
                    };
                    if freezable {
                        // SAFETY: It was just initialised.
                        unsafe { (*slot).flags = bindings::KTW_FREEZABLE };
                    }
                }),
                leftover <- list_head(),
                users: Atomic::new(0),
                task: Atomic::new(ptr::null_mut()),
                start: Start::new(),
                waits: Waits::new(),
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
            // SAFETY: `main` expects a queue, which is valid until the thread has ended.
            let task = unsafe { self.settings.create_task(main, data) }?;
            // INVARIANT: The reference is ours.
            queue.task.store(task.as_ptr(), Relaxed);
            // SAFETY: The thread has not been started, and no other task has the worker.
            unsafe { (*worker).task = task.as_ptr() };
            // The list's.
            let _ = Arc::into_raw(queue.clone());
            queue.start.start();
            queue.task().wake_up();
            Ok(())
        };
        // SAFETY: A reference is given to the list, with which the queue stays valid.
        unsafe { queue.attachment.attach_and_ask(create) }?;
        Ok(KthreadWorker { queue })
    }
}
