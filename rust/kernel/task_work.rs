// SPDX-License-Identifier: GPL-2.0

//! Work that a task does in its own context.
//!
//! A task work is an object that is handed to a task, which calls its [`TaskWorkItem::run`] the
//! next time it leaves the kernel, or earlier, or when it exits. It runs with that task's address
//! space, credentials and signals, and may sleep.
//!
//! # Vocabulary
//!
//! * An *item* is queued: it is a `Pin<KBox<T>>` or an [`Arc<T>`] whose `T` has a [`TaskWork`]
//!   field, by which it is linked, so that nothing is allocated; or a closure, which is boxed.
//! * To *add* an item is to give it to a task, its *target*. It is *pending* until the target takes
//!   it, and then *running* until its callback has returned.
//! * To *cancel* an item is to take it back while it is pending.
//! * The *mode* selects how the target is notified: see [`Mode`].
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
//! # What holds
//!
//! * An item that was added runs once, in the target's context, unless it is cancelled. If it
//!   cannot be added, because the target has exited or is a kernel thread, it comes back in the
//!   error.
//! * While it is pending it pins the module that has its callback: `rmmod` fails with `EAGAIN`. A
//!   target that never returns to user space, because it is stopped or blocked, may so keep a
//!   module loaded for as long as its user likes; `tether/outstanding` in debugfs names it.
//! * There is no order among items: the kernel's list is last in, first out. [`Ordered`] keeps one.
//! * Between adding and running the target may have executed another program, changed its
//!   credentials, or begun to exit; [`Context`] says what there is when it runs.
//! * Items also run in the middle of a system call, not only at its end: before a task stops for
//!   its tracer, in signal delivery, while it waits in io_uring.
//! * An `Arc` may be added while its callback runs, to the same task, by another task or by an
//!   interrupt handler: the callback is called once more after it has returned. A request that
//!   comes while the callback looks for work is therefore not lost.
//! * An item is not added from inside its own callback ([`EBUSY`]), by any field of the object: the
//!   target would never return to user space. A callback that adds fresh items, one after the
//!   other, is not detected, and neither are two items that add each other.
//!
//! # What can be cancelled
//!
//! | item | cancelled by | its node | the module |
//! |---|---|---|---|
//! | closure | [`Pending::cancel`] | is Tether's own, and is freed when the target passes it | is unpinned at once |
//! | `Arc<T>` | [`cancel`] | is in the item, which stays alive, and cannot be added again, until the target passes it | stays pinned until then |
//! | `Pin<KBox<T>>` | not at all: the node is in the item, whose memory the target's list goes through | | |
//!
//! (The kernel can unlink a node, `task_work_cancel()`, but does not let modules do so. In a kernel
//! tree an `Arc` is unlinked, if the target has not begun to run its works.)
//!
//! Cancelled works that stay linked use memory. If there are several thousand on one target, which
//! is stopped for instance, adding closures and `Arc`s to that target fails with [`EAGAIN`] until
//! the target has run.
//!
//! # Calling context
//!
//! Works are added and cancelled in any context but NMI, also in hard interrupts and under
//! spinlocks. Each function states its context. A callback runs in process context, in its target,
//! and may sleep.
//!
//! # Panics in a callback
//!
//! A panic in a callback, by an index out of bounds for instance, is a `BUG()`: the target exits,
//! or the kernel panics, depending on its configuration. No lock of Tether is held during a
//! callback, so that other tasks are not blocked, and the target runs its other works in its exit,
//! but for those that were behind the callback in the same batch: they are never run, and their
//! modules stay pinned. The item of the callback is leaked and counts as running: [`wait()`] and
//! [`Pending::wait`] do not return before a signal or the end of their time, [`add`] fails with
//! [`EBUSY`], and the module of the callback stays pinned.
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
//!         Mode,
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
//! // This runs in a kernel thread, which never returns to user space: the item comes back.
//! let refused = task_work::add(current!(), greeting, Mode::Resume).unwrap_err();
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
//!         Mode, //
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
//!         Mode::Signal,
//!         GFP_KERNEL,
//!     )?;
//!     // It runs whatever becomes of `pending`; this waits for it, for a second at most.
//!     pending.wait_timeout(Delta::from_secs(1))
//! }
//! # assert_eq!(greet(current!()), Err(EINVAL));
//! ```
//!
//! C header: [`include/linux/task_work.h`](srctree/include/linux/task_work.h)

use crate::{
    bindings,
    mm::MmWithUser,
    task::{
        CurrentTask,
        Task, //
    },
    tether::is_exiting, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

// The paths are for the external build, whose root includes this file by a path.
#[path = "task_work/add.rs"]
mod add;
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
#[path = "task_work/pending.rs"]
mod pending;
#[path = "task_work/run.rs"]
mod run;
#[path = "task_work/running.rs"]
mod running;
#[path = "task_work/state.rs"]
mod state;
#[path = "task_work/teardown.rs"]
mod teardown;

pub(crate) use add::add_other;
pub use add::{
    add,
    add_soon, //
};
pub use cancel::{
    cancel,
    wait,
    wait_timeout,
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

/// How a target is notified of a new work.
///
/// C header: `enum task_work_notify_mode` in
/// [`include/linux/task_work.h`](srctree/include/linux/task_work.h). `TWA_NMI_CURRENT` is not
/// offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not at all (`TWA_NONE`). The work runs when something else makes the target look, which
    /// may be as late as its exit.
    None,
    /// The work runs before the target next returns to user space (`TWA_RESUME`). A target that
    /// sleeps in the kernel is not woken; one that runs in user space is made to enter the kernel.
    Resume,
    /// Like a signal (`TWA_SIGNAL`): a target that sleeps interruptibly is woken, and its system
    /// call ends with `EINTR` or is restarted. The work runs soon unless the target sleeps
    /// uninterruptibly or is stopped.
    Signal,
    /// Like [`Mode::Signal`], but a target that runs in user space on another CPU is not
    /// interrupted by an IPI (`TWA_SIGNAL_NO_IPI`): the work runs when it next enters the kernel.
    SignalNoIpi,
}

impl Mode {
    fn as_raw(self) -> bindings::task_work_notify_mode {
        match self {
            Mode::None => bindings::task_work_notify_mode_TWA_NONE,
            Mode::Resume => bindings::task_work_notify_mode_TWA_RESUME,
            Mode::Signal => bindings::task_work_notify_mode_TWA_SIGNAL,
            Mode::SignalNoIpi => bindings::task_work_notify_mode_TWA_SIGNAL_NO_IPI,
        }
    }
}

/// Where an item runs: the task that it was added to, as it is now.
///
/// It cannot leave the callback.
///
/// # Invariants
///
/// It is only reachable in a callback, in the task that runs it.
pub struct Context<'a> {
    _callback: PhantomData<&'a CurrentTask>,
}

impl Context<'_> {
    /// The context of a callback that we are in.
    ///
    /// # Safety
    ///
    /// We must be in a callback, and give it to nothing that could keep it beyond that.
    unsafe fn new<'a>() -> &'a Self {
        // SAFETY: It has no size, so that any address will do.
        // INVARIANT: By the function's contract.
        unsafe { NonNull::dangling().as_ref() }
    }

    /// Returns the task that this runs in.
    ///
    /// # Context
    ///
    /// In a callback, as `self` does not leave it.
    pub fn task(&self) -> &CurrentTask {
        // SAFETY: By the type's invariants this is the task that `self` belongs to, and the
        // reference does not outlive `self`. `CurrentTask` is transparent.
        unsafe { &*Task::current_raw().cast::<CurrentTask>() }
    }

    /// Returns whether the task is exiting: it has taken its fatal signal, or is in `do_exit()`.
    ///
    /// # Context
    ///
    /// In a callback, as `self` does not leave it.
    ///
    /// Its address space, open files, root and working directory and its namespaces are gone then
    /// (`do_exit()` in [`kernel/exit.c`](srctree/kernel/exit.c)); its credentials and its pid are
    /// still there.
    pub fn is_exiting(&self) -> bool {
        is_exiting()
    }

    /// Returns the task's address space, if it still has one.
    ///
    /// # Context
    ///
    /// In a callback, as `self` does not leave it.
    ///
    /// It may be another one than when the item was added: the task may have executed a new
    /// program since.
    pub fn mm(&self) -> Option<&MmWithUser> {
        self.task().mm()
    }
}

/// An object that can be added to a task, by the [`TaskWork`] field with this `ID`.
pub trait TaskWorkItem<const ID: u64 = 0>: Sized {
    /// What owns the object while it is pending: `Pin<KBox<Self>>` or `Arc<Self>`.
    type Pointer: TaskWorkPointer<ID>;

    /// Does the work, in the task that the item was added to.
    ///
    /// Adding the item again from inside its own callback is refused with [`EBUSY`], by any field
    /// of the object. An `Arc` that is added by another task, or in an interrupt, while this runs
    /// is run once more afterwards.
    ///
    /// # Context
    ///
    /// Process context, in the target, possibly in the middle of a system call. May sleep. No lock
    /// of Tether is held.
    fn run(this: Self::Pointer, context: &Context<'_>);
}
