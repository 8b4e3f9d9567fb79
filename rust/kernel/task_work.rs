// SPDX-License-Identifier: GPL-2.0

//! Task works: callbacks that a task runs in its own context.
//!
//! A task work is an object that is added to a task. The task calls [`TaskWorkItem::run`] of the
//! object the next time it returns to user space, or earlier, or when it exits. The callback runs
//! with that task's address space, credentials and signals, and may sleep.
//!
//! # Vocabulary
//!
//! * An *item* is queued. It is a `Pin<KBox<T>>` or an [`Arc<T>`] if `T` has a [`TaskWork`] field,
//!   which links the item without an allocation; or it is a closure, which is boxed.
//! * *Adding* an item queues it to a task, its *target*. The item is *pending* until the target
//!   takes it off its list, and then *running* until the callback has returned.
//! * *Cancelling* an item takes it back while it is pending.
//! * The *mode* selects how the target is notified: see [`NotifyMode`].
//!
//! ```text
//!             add                    the target takes it             run returns
//!   idle ------------------> pending -------------------> running ---------------> idle
//!    ^                        |   | ^                        |
//!    +--- refused: item back  |   | +------------------------+ added again (`Arc`)
//!    |                        |   |
//!    |                        |   +-- the target exits: it runs then, in the dying task
//!    |                        |
//!    +------------------------+ cancelled (`Arc`, closure): item back
//! ```
//!
//! # Guarantees
//!
//! * An item that was added runs once, in the target's context, unless it is cancelled. If it
//!   cannot be added, because the target has exited or is a kernel thread, the error returns the
//!   item.
//! * A pending item pins the module that contains its callback: `rmmod` fails with `EAGAIN`. A
//!   target that does not return to user space, because it is stopped or blocked, can keep a module
//!   loaded for an unlimited time; `tether/outstanding` in debugfs names the target.
//! * Items are not run in the order in which they were added: the kernel's list is last in, first
//!   out. [`Ordered`] keeps the order.
//! * Between adding and running, the target may have executed another program, changed its
//!   credentials, or begun to exit. [`Context`] gives access to the current state of the target.
//! * Items also run in the middle of a system call, not only at its end: before a task stops for
//!   its tracer, in signal delivery, while it waits in io_uring.
//! * An `Arc` may be added to the same task while its callback runs, by another task or by an
//!   interrupt handler: after the callback has returned, it is called once more. Hence a request
//!   that arrives while the callback looks for work is not lost.
//! * An item cannot be added from inside its own callback ([`EBUSY`]), by any field of the object:
//!   the target would never return to user space. A callback that adds new items, one after the
//!   other, is not detected, and neither are two items that add each other.
//!
//! # Cancellation
//!
//! | item | cancelled by | its node | the module |
//! |---|---|---|---|
//! | closure | [`Pending::cancel`] | is freed when the target reaches it | is unpinned at once |
//! | `Arc<T>` | [`cancel`] | stays in the item | stays pinned until the target reaches the node |
//! | `Pin<KBox<T>>` | - | | |
//!
//! The node of a closure is allocated by Tether. An `Arc` stays alive, and cannot be added again,
//! until the target reaches the node. A `Pin<KBox<T>>` cannot be cancelled, because the list of the
//! target links through the memory of the item.
//!
//! The kernel can unlink a node (`task_work_cancel()`), but does not export this function to
//! modules. In a kernel tree, a cancelled `Arc` is unlinked unless the target has begun to run its
//! works.
//!
//! Cancelled works that stay linked use memory. If there are several thousand of them on a target,
//! for example because the target is stopped, adding closures and `Arc`s to that target fails with
//! [`EAGAIN`] until the target has run its works.
//!
//! # Calling context
//!
//! Works are added and cancelled in any context but NMI, including hard interrupts and under
//! spinlocks. The documentation of each function states its context. A callback runs in process
//! context, in its target, and may sleep.
//!
//! # Panics in a callback
//!
//! A panic in a callback, such as an index out of bounds, is a `BUG()`: the target exits, or the
//! kernel panics, depending on its configuration. Tether holds no lock during a callback, so that
//! other tasks are not blocked. The target runs its other works in its exit, except those behind
//! the callback, in the same batch or [`Ordered`] queue, which are never run. The item of the
//! callback is leaked and counts as running: [`wait()`] and [`Pending::wait`] return only when a
//! signal arrives, their timed forms also when the time is over, and [`add`] fails with [`EBUSY`].
//! The modules of the callback and of the works behind it stay pinned.
//!
//! # Examples
//!
//! A struct that is a task work:
//!
//! ```
//! use kernel::{
//!     prelude::*,
//!     task_work::{
//!         self,
//!         impl_has_task_work,
//!         Context,
//!         NotifyMode,
//!         TaskWork,
//!         TaskWorkItem,
//!     }, //
//! };
//!
//! #[pin_data]
//! struct Greeting {
//!     value: i32,
//!     #[pin]
//!     work: TaskWork<Greeting>,
//! }
//!
//! impl_has_task_work! {
//!     impl HasTaskWork<Self> for Greeting { self.work }
//! }
//!
//! impl TaskWorkItem for Greeting {
//!     type Pointer = Pin<KBox<Greeting>>;
//!
//!     fn run(this: Pin<KBox<Greeting>>, context: &Context<'_>) {
//!         pr_info!("{} says {}\n", context.task().pid(), this.value);
//!     }
//! }
//!
//! let greeting = KBox::pin_init(
//!     pin_init!(Greeting {
//!         value: 42,
//!         work <- TaskWork::new(),
//!     }),
//!     GFP_KERNEL,
//! )?;
//!
//! // This runs in a kernel thread, which never returns to user space: the item is refused.
//! let refused = task_work::add(current!(), greeting, NotifyMode::Resume).unwrap_err();
//! assert_eq!(refused.error, EINVAL);
//! assert_eq!(refused.item.value, 42);
//! # Ok::<(), Error>(())
//! ```
//!
//! A closure, for which one allocation is made:
//!
//! ```
//! use kernel::{
//!     prelude::*,
//!     sync::aref::ARef,
//!     task::Task,
//!     task_work::{
//!         self,
//!         NotifyMode, //
//!     },
//!     time::Delta, //
//! };
//!
//! fn greet(task: &Task) -> Result {
//!     let greeter = ARef::<Task>::from(&**current!());
//!     let pending = task_work::add_fn(
//!         task,
//!         move |context| {
//!             pr_info!("{} greets {}\n", greeter.pid(), context.task().pid());
//!         },
//!         NotifyMode::Signal,
//!         GFP_KERNEL,
//!     )?;
//!     // The closure runs even if `pending` is dropped. This waits for at most one second.
//!     pending.wait_timeout(Delta::from_secs(1))
//! }
//! # assert_eq!(greet(current!()), Err(EINVAL));
//! ```
//!
//! C header: [`include/linux/task_work.h`](srctree/include/linux/task_work.h)
//!
//! [`Arc<T>`]: crate::sync::Arc
//! [`EAGAIN`]: crate::error::code::EAGAIN
//! [`EBUSY`]: crate::error::code::EBUSY

use crate::{
    bindings,
    mm::MmWithUser,
    prelude::*,
    task::{
        CurrentTask,
        Task, //
    },
    tether::{
        is_exiting,
        Facility, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

// The files in the order in which to read them:
//
// * `state.rs`, `node.rs`, `item.rs`, `closure.rs`: an item and its states;
// * `add.rs`, `run.rs`, `cancel.rs`: from the add to the callback;
// * `teardown.rs`, `walk.rs`, `running.rs`: disarming the works of a module;
// * `ordered.rs`, `call.rs`, `threads.rs`: interfaces that are built from the above;
// * `orphans.rs`, `outstanding.rs`: the limit on cancelled works, the lines in debugfs;
// * `rust/helpers/task_work.c`: the walk over the works of all tasks, and the sleep of a wait.
//
// The external build includes this file by a path, so that it needs the paths of the modules.
#[path = "task_work/add.rs"]
mod add;
#[path = "task_work/call.rs"]
mod call;
#[path = "task_work/cancel.rs"]
mod cancel;
#[path = "task_work/closure.rs"]
mod closure;
#[path = "task_work/item.rs"]
mod item;
#[path = "task_work/node.rs"]
mod node;
#[path = "task_work/ordered.rs"]
mod ordered;
#[path = "task_work/orphans.rs"]
mod orphans;
#[path = "task_work/outstanding.rs"]
mod outstanding;
#[path = "task_work/run.rs"]
mod run;
#[path = "task_work/running.rs"]
mod running;
#[path = "task_work/state.rs"]
mod state;
#[path = "task_work/tasks.rs"]
mod tasks;
#[path = "task_work/teardown.rs"]
mod teardown;
#[path = "task_work/threads.rs"]
mod threads;
#[path = "task_work/walk.rs"]
mod walk;

pub(crate) use add::add_other;
pub use add::{
    add,
    add_soon, //
};
pub use call::{
    call,
    Call, //
};
pub use cancel::{
    cancel,
    wait,
    wait_killable,
    wait_timeout,
    wait_uninterruptible,
    Cancel, //
};
pub use closure::{
    add_fn,
    Pending, //
};
pub use item::{
    impl_has_task_work,
    HasTaskWork,
    TaskWork,
    TaskWorkPointer, //
};
#[doc(hidden)]
pub use node::{
    Node,
    Vtable, //
};
pub use ordered::Ordered;
pub use threads::in_each_thread;

/// The former name of [`NotifyMode`]: see `Documentation/renames.rst`.
#[cfg(MODULE)]
#[doc(hidden)]
pub use NotifyMode as Mode;

/// How a target is notified of a new work.
///
/// C header: `enum task_work_notify_mode` in
/// [`include/linux/task_work.h`](srctree/include/linux/task_work.h). `TWA_NMI_CURRENT` is not
/// offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotifyMode {
    /// No notification (`TWA_NONE`). The work runs when another event makes the target check for
    /// works, which may be as late as its exit.
    None,
    /// The work runs before the target next returns to user space (`TWA_RESUME`). A target that
    /// sleeps in the kernel is not woken; one that runs in user space is made to enter the kernel.
    Resume,
    /// Like a signal (`TWA_SIGNAL`): a target that sleeps interruptibly is woken, and its system
    /// call ends with `EINTR` or is restarted. The work runs soon unless the target sleeps
    /// uninterruptibly or is stopped.
    Signal,
    /// Like [`NotifyMode::Signal`], but a target that runs in user space on another CPU is not
    /// interrupted by an IPI (`TWA_SIGNAL_NO_IPI`): the work runs when it next enters the kernel.
    SignalNoIpi,
}

impl NotifyMode {
    fn as_raw(self) -> bindings::task_work_notify_mode {
        match self {
            NotifyMode::None => bindings::task_work_notify_mode_TWA_NONE,
            NotifyMode::Resume => bindings::task_work_notify_mode_TWA_RESUME,
            NotifyMode::Signal => bindings::task_work_notify_mode_TWA_SIGNAL,
            NotifyMode::SignalNoIpi => bindings::task_work_notify_mode_TWA_SIGNAL_NO_IPI,
        }
    }
}

/// The context in which an item runs: the current state of its target.
///
/// A reference to the context cannot be kept after the callback has returned.
///
/// # Invariants
///
/// A reference to a `Context` only exists in a callback, in the task that runs it.
pub struct Context<'a> {
    _callback: PhantomData<&'a CurrentTask>,
}

impl Context<'_> {
    /// Returns the context of the running callback.
    ///
    /// # Safety
    ///
    /// The caller must be in a callback, and must not keep the reference after the callback has
    /// returned.
    unsafe fn new<'a>() -> &'a Self {
        // INVARIANT: By the function's contract the caller is in a callback and does not keep the
        // reference after the callback.
        //
        // SAFETY: `as_ref()` requires a pointer to a valid object. `Context` has no size, so that a
        // dangling pointer that is aligned is valid.
        unsafe { NonNull::dangling().as_ref() }
    }

    /// Returns the task that runs the callback.
    ///
    /// # Context
    ///
    /// Inside a callback only, because `self` cannot be kept after the callback has returned.
    pub fn task(&self) -> &CurrentTask {
        // SAFETY: By the type's invariants, the current task runs the callback, so it is valid
        // while `self` is borrowed, and the reference stays in this task. `CurrentTask` is a
        // transparent wrapper of a `Task`, which is a transparent wrapper of `task_struct`.
        unsafe { &*Task::current_raw().cast::<CurrentTask>() }
    }

    /// Returns whether the task is exiting: a fatal signal was delivered to it, or it is in
    /// `do_exit()`.
    ///
    /// In `do_exit()` ([`kernel/exit.c`](srctree/kernel/exit.c)), the address space, open files,
    /// root and working directory and namespaces of the task have been released; its credentials
    /// and its pid are still valid.
    ///
    /// # Context
    ///
    /// Inside a callback only, because `self` cannot be kept after the callback has returned.
    pub fn is_exiting(&self) -> bool {
        is_exiting()
    }

    /// Returns the address space of the task, if it still has an address space.
    ///
    /// The address space may have changed since the item was added, because the task may have
    /// executed a new program.
    ///
    /// If this returns `None`, the callback must not access user memory: the kernel crate's
    /// `UserSlice` does not check this, and accesses the memory of another process.
    ///
    /// # Context
    ///
    /// Inside a callback only, because `self` cannot be kept after the callback has returned.
    pub fn mm(&self) -> Option<&MmWithUser> {
        self.task().mm()
    }
}

/// An object that can be added to a task, by the [`TaskWork`] field with this `ID`.
pub trait TaskWorkItem<const ID: u64 = 0>: Sized {
    /// The pointer that owns the object while it is pending: `Pin<KBox<Self>>` or `Arc<Self>`.
    type Pointer: TaskWorkPointer<ID>;

    /// Runs the item, in the task that it was added to.
    ///
    /// Adding the item again from inside its own callback fails with
    /// [`EBUSY`](crate::error::code::EBUSY), by any field of the object. If another task or an
    /// interrupt handler adds an `Arc` while this function runs, the callback is called once more
    /// afterwards.
    ///
    /// # Context
    ///
    /// Process context, in the target, possibly in the middle of a system call. May sleep. No lock
    /// of Tether is held.
    fn run(this: Self::Pointer, context: &Context<'_>);
}

/// The functions of task works for module teardown and for `tether/outstanding`.
static FACILITY: Facility = Facility {
    kind: "task work",
    disarm: teardown::disarm,
    interrupt: teardown::interrupt,
    show: outstanding::show,
};

/// Creates the list of queues and registers the facility, once, before a module can add a work.
#[no_mangle]
extern "C" fn tether_task_work_init() -> c_int {
    ordered::init()
        .and_then(|()| FACILITY.register())
        .map_or_else(|error| error.to_errno(), |()| 0)
}
