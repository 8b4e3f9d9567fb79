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
    alloc::Flags,
    bindings,
    fmt,
    mm::MmWithUser,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc, //
    },
    task::{
        CurrentTask,
        Task, //
    },
    tether::{
        as_jiffies,
        is_exiting,
        is_kernel_thread,
        jiffies,
        load_acquire,
        read_once,
        Entered,
        Owner,
        Pins,
        Refused, //
    },
    time::{
        Delta,
        Jiffies, //
    },
    types::Opaque, //
};
use core::{
    any::type_name,
    cell::UnsafeCell,
    ffi::c_void,
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::{
        self,
        NonNull, //
    }, //
};

// The paths are for the external build, whose root names this file by one.
#[path = "task_work/state.rs"]
mod state;
#[path = "task_work/ordered.rs"]
mod ordered;
#[path = "task_work/running.rs"]
mod running;
use state::{
    Cancelled,
    State, //
};
pub(crate) use ordered::init;
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

/// Whether an add to `task` is refused because the task is being killed, or exits.
///
/// `task_work_run()` does not return while works are added. If a callback adds one, or another task
/// adds them faster than they run, a task that was killed would not end. A task in a system call
/// adds to itself until it exits.
#[inline(always)]
fn is_refused_at_end(task: &Task) -> bool {
    let own = ptr::eq(task.as_ptr(), Task::current_raw());
    (!own || running::may_have_record()) && is_refused_if_ending(task, own)
}

#[inline(never)]
fn is_refused_if_ending(task: &Task, own: bool) -> bool {
    // SAFETY: The task is valid.
    let ending = unsafe { bindings::tether_is_ending(task.as_ptr()) };
    ending && (!own || running::is_in_callback())
}

/// Ends interruptible sleeps of callbacks of `owner` that are running, for as long as they run.
///
/// Notifies the task of a further work, which does nothing: `set_notify_signal()` is not available
/// to modules.
pub(crate) fn interrupt(owner: &'static Owner) {
    let mut tasks: [Option<ARef<Task>>; 16] = [const { None }; 16];
    let mut free = tasks.iter_mut();
    running::for_each(|running| {
        // SAFETY: The callback is kept from returning, so that its owner is pinned.
        let run = unsafe { running.vtable.as_ref() }.run;
        if Owner::of(run as *const ()).is_ok_and(|other| ptr::eq(other, owner)) {
            if let Some(slot) = free.next() {
                let task = running.task as *const Task;
                // SAFETY: The task is valid, as its callback is kept from returning. `Task` is a
                // transparent wrapper.
                *slot = Some(unsafe { &*task }.into());
            }
        }
    });
    for task in tasks.iter().flatten() {
        // If there is no memory, the next call does it.
        let _ = add_fn(task, |_: &Context<'_>| (), Mode::Signal, GFP_KERNEL);
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

/// The part of a [`TaskWork`] that does not depend on its type.
///
/// # Invariants
///
/// * While the node is queued or is about to be, `vtable`, `run`, `pins` and `owner` are those of
///   the pointer by which it was added, in the text of the module that has added it. At other times
///   they may be those of a module that has made the item and is gone: they are only compared.
/// * While `state` is [`state::PENDING`] or [`state::QUEUED`] the node is queued, or is about to be
///   by the thread that set that state; it holds a pin of its owner, and the item's pointer.
#[doc(hidden)]
#[repr(C)]
pub struct Node {
    head: bindings::callback_head,
    /// That of `vtable`.
    run: unsafe fn(NonNull<Node>),
    vtable: *const Vtable,
    /// The pins of `owner`.
    pins: &'static Pins,
    owner: &'static Owner,
    state: State,
    /// Used by the teardown of a module: the next disarmed node, then the memory to be freed.
    link: Atomic<*mut c_void>,
}

/// The functions for the type of a node, in the text of its owner.
#[doc(hidden)]
pub struct Vtable {
    name: fn() -> &'static str,
    kind: Kind,
    /// Runs the item, in a callback. The node is the callee's.
    run: unsafe fn(NonNull<Node>),
}

impl Vtable {
    /// Whether the item is in a box.
    fn is_of_box(&self) -> bool {
        matches!(self.kind, Kind::Box { .. })
    }
}

/// The kind of memory that a node is in, with the functions that depend on it.
#[derive(Clone, Copy)]
enum Kind {
    Box {
        /// Drops the item of a node that was disarmed, but not the memory that the node is in, and
        /// returns where that begins.
        discard: unsafe fn(NonNull<Node>) -> *mut c_void,
    },
    Arc {
        /// Drops the pointer of a node that was cancelled. The node is the callee's.
        release: unsafe fn(NonNull<Node>),
    },
    Closure {
        /// Drops the closure of a node that was disarmed.
        discard: unsafe fn(NonNull<Node>),
    },
    /// An [`Ordered`], which is Tether's own: it is neither cancelled nor disarmed.
    Queue,
}

impl Node {
    /// Initialises a node in place.
    ///
    /// # Safety
    ///
    /// `slot` must be valid for writes, and `run` of the vtable must be a function of the module
    /// that has the vtable.
    #[inline(never)]
    unsafe fn init(slot: *mut Self, vtable: &'static Vtable, state: usize, target: usize) {
        // The vtable's address would not do: constants of two modules may be one.
        let Some(owner) = Owner::of_cached(vtable.run as *const ()) else {
            // SAFETY: `slot` is valid for writes by the function's contract.
            return unsafe { Self::init_slow(slot, vtable, state, target) };
        };
        // SAFETY: `slot` is valid for writes by the function's contract.
        unsafe { slot.write(Self::with_owner(owner, vtable, state, target)) };
    }

    /// Initialises a node whose owner is not in the cache.
    ///
    /// # Safety
    ///
    /// As [`Self::init`].
    #[cold]
    #[inline(never)]
    unsafe fn init_slow(slot: *mut Self, vtable: &'static Vtable, state: usize, target: usize) {
        // SAFETY: `slot` is valid for writes by the function's contract.
        unsafe { slot.write(Self::new(vtable, state, target)) };
    }

    fn new(vtable: &'static Vtable, state: usize, target: usize) -> Self {
        Self::with_owner(Self::owner_of(vtable), vtable, state, target)
    }

    /// Makes a node that is not linked that of the module that adds it.
    ///
    /// Another module may have made the item, or have added it before, and be gone. An equal
    /// address of the vtable proves nothing: a module that is loaded at the place of another one
    /// has the same addresses, and another record.
    ///
    /// # Safety
    ///
    /// `this` must be valid, not linked, and the caller's. `vtable` must be that of the pointer
    /// that the node comes from.
    #[inline(always)]
    unsafe fn adopt(this: NonNull<Self>, vtable: &'static Vtable) {
        let owner = match Owner::of_cached(vtable.run as *const ()) {
            Some(owner) => owner,
            None => Self::owner_of(vtable),
        };
        let this = this.as_ptr();
        // The state stays: other tasks may look at it.
        //
        // SAFETY: The node is valid and the caller's, by the function's contract. Other tasks read
        // these fields of nodes that are linked only.
        unsafe {
            (&raw mut (*this).run).write(vtable.run);
            (&raw mut (*this).vtable).write(vtable);
            (&raw mut (*this).pins).write(owner.pins());
            (&raw mut (*this).owner).write(owner);
        }
    }

    #[cold]
    #[inline(never)]
    fn owner_of(vtable: &'static Vtable) -> &'static Owner {
        Owner::of(vtable.run as *const ()).unwrap_or_else(|_| Owner::unknown())
    }

    /// The functions of the node.
    ///
    /// # Safety
    ///
    /// The node must be linked with a pin, or be about to be run, or its owner be kept otherwise.
    unsafe fn vtable(&self) -> &'static Vtable {
        // SAFETY: By the type's invariants the vtable is in the text of the owner, which is there
        // by the function's contract.
        unsafe { &*self.vtable }
    }

    #[inline(always)]
    fn with_owner(
        owner: &'static Owner,
        vtable: &'static Vtable,
        state: usize,
        target: usize,
    ) -> Self {
        Self {
            head: bindings::callback_head {
                next: ptr::null_mut(),
                func: Some(match vtable.kind {
                    Kind::Box { .. } | Kind::Queue => run_box,
                    Kind::Arc { .. } | Kind::Closure { .. } => run_work,
                }),
            },
            run: vtable.run,
            vtable,
            pins: owner.pins(),
            owner,
            state: State::new(state, target),
            link: Atomic::new(ptr::null_mut()),
        }
    }
}

/// Limits how many cancelled works stay linked on one target.
///
/// A cancelled closure is memory that stays until the target passes the node, and a cancelled `Arc`
/// stays alive for as long. A target may be stopped for as long as its user likes, so that adding
/// and cancelling in a loop would use up memory.
mod orphans {
    use super::{
        state,
        ordered,
        read_once,
        run_work,
        Node, //
    };
    use crate::{
        bindings,
        sync::atomic::{
            Atomic,
            Relaxed, //
        },
        task::Task, //
    };
    use core::{
        ffi::c_void,
        ptr, //
    };

    /// The number of cancelled works that may be linked on one target.
    const LIMIT: i32 = 4096;
    const BUCKETS: usize = 256;

    /// The number of cancelled works on all targets of a bucket. It is negative for a moment if a
    /// target passes a work before the canceller has counted it.
    static COUNTS: [Atomic<i32>; BUCKETS] = [const { Atomic::new(0) }; BUCKETS];

    #[inline(always)]
    fn count_of(target: usize) -> &'static Atomic<i32> {
        // A task takes more than a kilobyte.
        &COUNTS[(target >> 10) % BUCKETS]
    }

    pub(super) fn add(target: usize) {
        count_of(target).fetch_add(1, Relaxed);
    }

    pub(super) fn remove(target: usize) {
        count_of(target).fetch_sub(1, Relaxed);
    }

    /// Whether there may be too many on `task`; if so, the caller counts them by [`is_full_on`].
    #[inline(always)]
    pub(super) fn may_be_full(task: &Task) -> bool {
        read_once(count_of(task.as_ptr() as usize)) >= LIMIT
    }

    fn is_orphan(node: &Node) -> bool {
        matches!(node.state.load().state(), state::CANCELLED | state::ORPHAN)
    }

    /// Whether there are too many on `task`, in its list or in a queue to it.
    ///
    /// Must not be called with the lock of a queue held.
    #[cold]
    pub(super) fn is_full_on(task: &Task) -> bool {
        /// # Safety
        ///
        /// `data` must point at the count, and `head` be that of a valid [`Node`].
        unsafe extern "C" fn count(
            _task: *mut bindings::task_struct,
            head: *mut bindings::callback_head,
            data: *mut c_void,
        ) {
            // SAFETY: The head is at the beginning of a valid node by the function's contract.
            if is_orphan(unsafe { &*head.cast::<Node>() }) {
                // SAFETY: `data` points at the count by the function's contract.
                unsafe { *data.cast::<i32>() += 1 };
            }
        }

        let mut found = 0i32;
        // SAFETY: The task is valid, `count` is given the count that it expects, and works with
        // this function are nodes.
        unsafe {
            bindings::tether_for_each_work_of(
                task.as_ptr(),
                Some(run_work),
                Some(count),
                ptr::from_mut(&mut found).cast(),
            )
        };
        ordered::for_each_pending(Some(task), &mut |_, node| {
            if is_orphan(node) {
                found += 1;
            }
        });
        found >= LIMIT
    }
}

/// The field by which an object is linked into a task's works.
///
/// Several fields of one struct have different `ID`s.
///
/// `T` selects the callback when the field is created. The type is therefore invariant in `T`: a
/// field that was created for one type is never used for a subtype with another [`TaskWorkItem`].
///
/// # Invariants
///
/// `node` is initialised, and its vtable is that of the pointer that the item is added by.
#[pin_data]
#[repr(transparent)]
pub struct TaskWork<T: ?Sized, const ID: u64 = 0> {
    #[pin]
    node: Opaque<Node>,
    _item: PhantomData<*mut T>,
}

// SAFETY: The node is only touched by the thread that has queued it, by the task that runs it, and
// through its atomic state. No `T` is reached through this type.
unsafe impl<T: ?Sized, const ID: u64> Send for TaskWork<T, ID> {}
// SAFETY: A shared reference to the field gives access to nothing of the node.
unsafe impl<T: ?Sized, const ID: u64> Sync for TaskWork<T, ID> {}

impl<T: TaskWorkItem<ID>, const ID: u64> TaskWork<T, ID> {
    /// Creates the field.
    ///
    /// # Context
    ///
    /// The initialiser may run in any context but NMI. It does not sleep.
    #[doc(alias = "init_task_work")]
    pub fn new() -> impl PinInit<Self> {
        let vtable = T::Pointer::VTABLE;
        // INVARIANT: `VTABLE` is that of the pointer, as `TaskWorkPointer` requires.
        pin_init!(Self {
            node <- Opaque::ffi_init(move |node: *mut Node| {
                // The owner of a box may queue the box at any time, so that its node is always
                // ready. A box has no target: its place holds the callback in which the box was
                // created.
                let (state, target) = match vtable.kind {
                    Kind::Box { .. } => (state::PENDING, running::birth().wrapping_mul(State::UNIT)),
                    _ => (state::IDLE, 0),
                };
                // SAFETY: `node` is valid for writes, and the vtable is a constant of the module
                // that has its functions.
                unsafe { Node::init(node, vtable, state, target) };
            }),
            _item: PhantomData,
        })
    }
}

/// Implemented by types that have a [`TaskWork`] field; use [`impl_has_task_work!`].
///
/// # Safety
///
/// Both methods must be the inverse of each other, for a field of the object.
pub unsafe trait HasTaskWork<T, const ID: u64 = 0> {
    /// Returns the field of an object.
    ///
    /// # Safety
    ///
    /// `this` must point at a valid object.
    unsafe fn raw_get_task_work(this: *mut Self) -> *mut TaskWork<T, ID>;

    /// Returns the object that a field is in.
    ///
    /// # Safety
    ///
    /// `work` must point at that field of a valid object.
    unsafe fn task_work_container_of(work: *mut TaskWork<T, ID>) -> *mut Self;
}

/// Says which field of a struct is its [`TaskWork`].
///
/// ```
/// use kernel::{
///     prelude::*,
///     sync::Arc,
///     task_work::{
///         impl_has_task_work,
///         Context,
///         TaskWork,
///         TaskWorkItem,
///     }, //
/// };
///
/// #[pin_data]
/// struct Twice {
///     #[pin]
///     first: TaskWork<Twice, 1>,
///     #[pin]
///     second: TaskWork<Twice, 2>,
/// }
///
/// impl_has_task_work! {
///     impl HasTaskWork<Self, 1> for Twice { self.first }
///     impl HasTaskWork<Self, 2> for Twice { self.second }
/// }
///
/// impl TaskWorkItem<1> for Twice {
///     type Pointer = Arc<Twice>;
///     fn run(_this: Arc<Twice>, _context: &Context<'_>) {}
/// }
///
/// impl TaskWorkItem<2> for Twice {
///     type Pointer = Arc<Twice>;
///     fn run(_this: Arc<Twice>, _context: &Context<'_>) {}
/// }
/// ```
#[macro_export]
macro_rules! impl_has_task_work {
    ($(impl$({$($generics:tt)*})?
       HasTaskWork<$work_type:ty $(, $id:tt)?>
       for $self:ty
       { self.$field:ident }
    )*) => {$(
        // The generics are spliced into an `unsafe impl` below. Here they have to parse as
        // generics: no token that may follow the generics of a trait may follow those of an `impl`.
        $(const _: () = {
            #[allow(dead_code, private_bounds)]
            trait Parameters<$($generics)*> {}
        };)?

        // SAFETY: Both methods use the same field.
        unsafe impl$(<$($generics)*>)? $crate::task_work::HasTaskWork<$work_type $(, $id)?>
            for $self
        {
            #[inline]
            unsafe fn raw_get_task_work(
                this: *mut Self,
            ) -> *mut $crate::task_work::TaskWork<$work_type $(, $id)?> {
                // SAFETY: The caller promises that the pointer is not dangling.
                unsafe { &raw mut (*this).$field }
            }

            #[inline]
            unsafe fn task_work_container_of(
                work: *mut $crate::task_work::TaskWork<$work_type $(, $id)?>,
            ) -> *mut Self {
                // SAFETY: The caller promises that the pointer is at the field of that object.
                unsafe { $crate::container_of!(work, Self, $field) }
            }
        }
    )*};
}
pub use crate::impl_has_task_work;

/// A pointer that can own an object while it is pending.
///
/// # Safety
///
/// * A node that `into_node` returns stays valid, and pinned, until it is run or released, or
///   `from_node` is called with it. Its state is [`state::QUEUED`] or [`state::PENDING`].
/// * `VTABLE` must take such a node back to the pointer that it comes from.
pub unsafe trait TaskWorkPointer<const ID: u64>: Sized + Send + 'static {
    /// The functions of such a node.
    #[doc(hidden)]
    const VTABLE: &'static Vtable;

    /// Gives up the pointer for its node, to be queued to `target`, unless the node is in use.
    ///
    /// # Safety
    ///
    /// The caller must queue the node to that task, or call `from_node`: until then the object is
    /// leaked, and the item stays pending.
    #[doc(hidden)]
    unsafe fn into_node(self, target: &Task) -> Result<NonNull<Node>, Self>;

    /// Takes back the pointer that `into_node` has given up, of a node that was not queued.
    ///
    /// # Safety
    ///
    /// The node must have come from `into_node`, and is used once.
    #[doc(hidden)]
    unsafe fn from_node(node: NonNull<Node>) -> Self;
}

/// The node of an object.
///
/// # Safety
///
/// `this` must point at a valid object.
unsafe fn node_of<T, const ID: u64>(this: *mut T) -> NonNull<Node>
where
    T: HasTaskWork<T, ID>,
{
    // SAFETY: The object is valid by the function's contract.
    let work = unsafe { T::raw_get_task_work(this) };
    // SAFETY: It is a field of a valid object, so it is not null; `TaskWork` and `Opaque` are
    // transparent.
    unsafe { NonNull::new_unchecked(work.cast::<Node>()) }
}

/// The object that a node is in.
///
/// # Safety
///
/// `node` must be that of a valid `T`, by its field `ID`.
unsafe fn item_of<T, const ID: u64>(node: NonNull<Node>) -> *mut T
where
    T: HasTaskWork<T, ID>,
{
    // SAFETY: By the function's contract.
    unsafe { T::task_work_container_of(node.as_ptr().cast()) }
}

/// The functions for nodes in boxes.
struct BoxWork<T, const ID: u64>(PhantomData<T>);

impl<T, const ID: u64> BoxWork<T, ID>
where
    T: TaskWorkItem<ID, Pointer = Pin<KBox<T>>> + HasTaskWork<T, ID>,
{
    const VTABLE: Vtable = Vtable {
        name: type_name::<T>,
        kind: Kind::Box {
            discard: Self::discard,
        },
        run: Self::run,
    };

    /// # Safety
    ///
    /// The node must be that of a box that was given up, and is used once.
    unsafe fn into_box(node: NonNull<Node>) -> Pin<KBox<T>> {
        // SAFETY: By the function's contract. It was pinned when it was given up.
        unsafe { Pin::new_unchecked(KBox::from_raw(item_of::<T, ID>(node))) }
    }

    /// # Safety
    ///
    /// As [`Self::into_box`].
    unsafe fn run(node: NonNull<Node>) {
        // SAFETY: The node is that of a box that was given up, and is used once, by the function's
        // contract; this is a callback, and `T::run` cannot keep the context.
        T::run(unsafe { Self::into_box(node) }, unsafe { Context::new() });
    }

    /// # Safety
    ///
    /// As [`Self::into_box`].
    unsafe fn discard(node: NonNull<Node>) -> *mut c_void {
        // SAFETY: By the function's contract.
        let item = unsafe { item_of::<T, ID>(node) };
        // SAFETY: The item is ours, and pinned. Its node is not touched by this: it has no drop.
        unsafe { ptr::drop_in_place(item) };
        item.cast()
    }
}

// SAFETY: The node is in the box, which is pinned, and owned by the node until that is taken back.
// A box has one owner, so that its node is not queued.
unsafe impl<T, const ID: u64> TaskWorkPointer<ID> for Pin<KBox<T>>
where
    T: TaskWorkItem<ID, Pointer = Self> + HasTaskWork<T, ID> + Send + 'static,
{
    const VTABLE: &'static Vtable = &BoxWork::<T, ID>::VTABLE;

    #[inline]
    unsafe fn into_node(self, target: &Task) -> Result<NonNull<Node>, Self> {
        // SAFETY: The object is not moved: it stays pinned, behind a raw pointer.
        let this = KBox::into_raw(unsafe { Pin::into_inner_unchecked(self) });
        // SAFETY: `this` was just a box, so it points at a valid object.
        let node = unsafe { node_of::<T, ID>(this) };
        let born = || {
            // SAFETY: The node is a field of a valid object.
            unsafe { node.as_ref() }.state.load().target() / State::UNIT
        };
        if is_current(target) && running::is_inside(this as usize, size_of::<T>(), true, born) {
            // SAFETY: The box was given up above, and is taken back once.
            return Err(unsafe { BoxWork::<T, ID>::into_box(node) });
        }
        Ok(node)
    }

    #[inline]
    unsafe fn from_node(node: NonNull<Node>) -> Self {
        // SAFETY: The node came from `into_node`, and is used once, by the function's contract.
        unsafe { BoxWork::<T, ID>::into_box(node) }
    }
}

/// The functions for nodes in `Arc`s.
struct ArcWork<T, const ID: u64>(PhantomData<T>);

impl<T, const ID: u64> ArcWork<T, ID>
where
    T: TaskWorkItem<ID, Pointer = Arc<T>> + HasTaskWork<T, ID>,
{
    const VTABLE: Vtable = Vtable {
        name: type_name::<T>,
        kind: Kind::Arc {
            release: Self::release,
        },
        run: Self::run,
    };

    /// # Safety
    ///
    /// The node must be that of a reference that was given up, and is used once.
    unsafe fn into_arc(node: NonNull<Node>) -> Arc<T> {
        // SAFETY: By the function's contract.
        unsafe { Arc::from_raw(item_of::<T, ID>(node)) }
    }

    /// # Safety
    ///
    /// As [`Self::into_arc`].
    unsafe fn run(node: NonNull<Node>) {
        // SAFETY: The node is that of a reference that was given up, by the function's contract.
        let this = unsafe { Self::into_arc(node) };
        // The callback may drop its reference, and the node is marked afterwards.
        let held = this.clone();
        // SAFETY: This is a callback, and `T::run` cannot keep the context.
        T::run(this, unsafe { Context::new() });
        // SAFETY: `held` keeps the object valid.
        unsafe { node.as_ref() }.state.finish();
        drop(held);
    }

    /// # Safety
    ///
    /// As [`Self::into_arc`].
    unsafe fn release(node: NonNull<Node>) {
        // SAFETY: The node is that of a reference that was given up, by the function's contract.
        drop(unsafe { Self::into_arc(node) });
    }
}

// SAFETY: The node is in the object that the `Arc` refers to, which is always pinned, and a
// reference is owned by the node until it is taken back. Of all threads that share the object, only
// the one that has made the node queued gets it.
unsafe impl<T, const ID: u64> TaskWorkPointer<ID> for Arc<T>
where
    T: TaskWorkItem<ID, Pointer = Self> + HasTaskWork<T, ID> + Send + Sync + 'static,
{
    const VTABLE: &'static Vtable = &ArcWork::<T, ID>::VTABLE;

    #[inline]
    unsafe fn into_node(self, target: &Task) -> Result<NonNull<Node>, Self> {
        let this = Arc::as_ptr(&self).cast_mut();
        // SAFETY: `self` keeps the object valid.
        let node = unsafe { node_of::<T, ID>(this) };
        if is_current(target) && running::is_inside(this as usize, size_of::<T>(), false, || 0) {
            return Err(self);
        }
        // SAFETY: `self` keeps the object, and with it the node, valid.
        let state = &unsafe { node.as_ref() }.state;
        if !state.try_queue(target.as_ptr() as usize) {
            return Err(self);
        }
        let _ = Arc::into_raw(self);
        Ok(node)
    }

    #[inline]
    unsafe fn from_node(node: NonNull<Node>) -> Self {
        // SAFETY: The node came from `into_node`, which gave up a reference, and is used once.
        let this = unsafe { ArcWork::<T, ID>::into_arc(node) };
        // SAFETY: `this` keeps the object valid.
        let old = unsafe { node.as_ref() }.state.withdraw();
        if old.state() == state::CANCELLED {
            orphans::remove(old.target());
        }
        this
    }
}

/// Whether a callback that adds to this task adds to the one that runs it.
#[inline(always)]
fn is_current(task: &Task) -> bool {
    ptr::eq(task.as_ptr(), Task::current_raw())
}

/// Adds a box to `task` also inside of the callback of an object that was at its address. The
/// callback of `T` must not add its own item again.
pub(crate) fn add_other<T>(
    task: &Task,
    item: Pin<KBox<T>>,
    mode: Mode,
) -> Result<(), Refused<Pin<KBox<T>>>>
where
    T: TaskWorkItem<0, Pointer = Pin<KBox<T>>> + HasTaskWork<T> + Send + 'static,
{
    // SAFETY: The object is not moved: it stays pinned, behind a raw pointer.
    let this = KBox::into_raw(unsafe { Pin::into_inner_unchecked(item) });
    // SAFETY: `this` was just a box, so it points at a valid object.
    let node = unsafe { node_of::<T, 0>(this) };
    // SAFETY: The node is that of a box, which is ours and not linked.
    unsafe { Node::adopt(node, <Pin<KBox<T>> as TaskWorkPointer<0>>::VTABLE) };
    // SAFETY: The node is that of a box, which was given up for it.
    unsafe { add_node(task, node, mode) }.map_err(|error| {
        // SAFETY: The box was given up above, was not queued, and is taken back once.
        Refused::new(unsafe { BoxWork::<T, 0>::into_box(node) }, error)
    })
}

/// Adds `item` to `task`, which will run it.
///
/// An `Arc` whose callback is running may be added again, to the same task: the callback is called
/// once more after it has returned. So no request is lost that comes while the callback looks for
/// work. If the item is pending already, its callback sees what the caller has stored before this
/// returned [`EBUSY`].
///
/// # Context
///
/// Any context but NMI. Does not sleep, and allocates nothing. The caller must not hold the
/// `pi_lock` of a task.
///
/// # Errors
///
/// The item comes back with
///
/// * [`ESRCH`] if the task has exited, or is being killed or in its exit. Only the task itself may
///   add works then, outside of callbacks, until it runs no more works;
/// * [`EINVAL`] if the task is a kernel thread, which would run it only when it ends;
/// * [`EBUSY`] if the item is pending, is running in another task, or was cancelled and its target
///   has not passed it since; and if the caller is the callback of the item, by this field of the
///   object or by another one: the target would never return to user space;
/// * [`EAGAIN`] if the item is an `Arc`, and several thousand cancelled works are still linked on
///   the task, because the task has not run since;
/// * [`ENODEV`] if the module of its callback is being removed, or is one that Tether does not
///   know.
///
/// C: `task_work_add()` in [`kernel/task_work.c`](srctree/kernel/task_work.c).
#[doc(alias = "task_work_add")]
#[inline]
pub fn add<P, const ID: u64>(task: &Task, item: P, mode: Mode) -> Result<(), Refused<P>>
where
    P: TaskWorkPointer<ID>,
{
    add_by(task, item, |node| {
        if !matches!(P::VTABLE.kind, Kind::Box { .. })
            && orphans::may_be_full(task)
            && orphans::is_full_on(task)
        {
            return Err(EAGAIN);
        }
        // SAFETY: The node comes from `into_node`, and is taken back if this fails.
        unsafe { add_node(task, node, mode) }
    })
}

/// Adds `item` to `task` so that it runs soon, also if the task sleeps.
///
/// [`Mode::Resume`] does not wake a sleeper: the item would run when whatever the task waits for
/// has come. This wakes it, as a signal would ([`Mode::Signal`]), and that has a cost: the system
/// call that the task is in ends with `EINTR`, or is restarted and may have to wait anew; and a
/// task that runs in user space on another CPU is interrupted. A task that sleeps uninterruptibly,
/// or is stopped, still takes its time.
///
/// # Context
///
/// Any context but NMI, as for [`add`].
///
/// # Errors
///
/// Fails like [`add`].
#[inline]
pub fn add_soon<P, const ID: u64>(task: &Task, item: P) -> Result<(), Refused<P>>
where
    P: TaskWorkPointer<ID>,
{
    add(task, item, Mode::Signal)
}

/// Gives `item` up for its node, and passes the node to `queue`, which queues it to `task`; takes
/// the item back if `queue` fails.
#[inline]
fn add_by<P, const ID: u64>(
    task: &Task,
    item: P,
    queue: impl FnOnce(NonNull<Node>) -> Result,
) -> Result<(), Refused<P>>
where
    P: TaskWorkPointer<ID>,
{
    // SAFETY: The node is queued to `task` by `queue`, or passed to `from_node`.
    let node = unsafe { item.into_node(task) }.map_err(|item| Refused::new(item, EBUSY))?;
    // SAFETY: The node comes from `into_node` above, so that it is valid, ours and not linked.
    unsafe { Node::adopt(node, P::VTABLE) };
    // SAFETY: The node comes from `into_node` above, and was not queued if `queue` fails.
    queue(node).map_err(|error| Refused::new(unsafe { P::from_node(node) }, error))
}

/// Queues a node.
///
/// # Safety
///
/// The node must be the caller's, as it comes from [`TaskWorkPointer::into_node`] for `task`; on
/// success it is given away.
#[inline]
unsafe fn add_node(task: &Task, node: NonNull<Node>, mode: Mode) -> Result {
    // SAFETY: The node is valid and ours, by the function's contract.
    let this = unsafe { node.as_ref() };
    this.state.stamp(jiffies() as u32);
    // SAFETY: The task is valid, the node is in no list, and it stays valid until it is run. It is
    // pinned while it is queued. If this succeeds it may have been run already, and is not touched
    // again.
    match unsafe { link_node(task, node, mode.as_raw(), this.pins) } {
        0 => Ok(()),
        // SAFETY: The node was not queued.
        error => Err(unsafe { add_failed(node, error) }),
    }
}

/// Why a node was not queued.
///
/// # Safety
///
/// The node must be the caller's, and `error` come from [`link_node`] for it.
#[cold]
#[inline(never)]
unsafe fn add_failed(node: NonNull<Node>, error: c_int) -> Error {
    if error == ESRCH.to_errno() {
        // SAFETY: The node is valid. It was pinned before this error, and that is left to us.
        unsafe { node.as_ref().owner.unpin() };
    }
    Error::from_errno(error)
}

/// Pins the owner of a node by `pins`, and adds the node to the list of `task`. Returns 0, or an
/// errno. With `ESRCH` the pin is left to the caller; it is the only error of `task_work_add()`.
///
/// # Safety
///
/// As [`add_node`].
#[inline(never)]
unsafe fn link_node(
    task: &Task,
    node: NonNull<Node>,
    mode: bindings::task_work_notify_mode,
    pins: &'static Pins,
) -> c_int {
    // A kernel thread would run it when it ends.
    if is_kernel_thread(task) {
        return EINVAL.to_errno();
    }
    if !pins.pin() {
        return ENODEV.to_errno();
    }
    if is_refused_at_end(task) {
        return ESRCH.to_errno();
    }
    // SAFETY: The task is valid, and so is the node, which is in no list, until it is run; by the
    // function's contract.
    unsafe { bindings::task_work_add(task.as_ptr(), node.as_ptr().cast(), mode) }
}

// What the kernel calls is in text that never goes away, and must never be copied into a
// consumer's, by inlining or as a generic: the owner may be gone when it returns.

/// Runs a box.
///
/// # Safety
///
/// `head` must be that of a [`Node`] which was queued, to the current task or to an [`Ordered`]
/// that runs in it; that of a box.
#[inline(never)]
unsafe extern "C" fn run_box(head: *mut bindings::callback_head) {
    // SAFETY: The head is valid, by the function's contract.
    let next = unsafe { (*head).next };
    // SAFETY: The head is at the beginning of a node, by the function's contract. A box is not
    // cancelled, and one that is disarmed gets another function: the node is ours to run.
    unsafe {
        let node = NonNull::new_unchecked(head.cast::<Node>());
        run_node(node, Callback::of(node), next);
    }
}

/// The parts of a node that are needed to run it.
struct Callback {
    run: unsafe fn(NonNull<Node>),
    pins: &'static Pins,
    vtable: &'static Vtable,
}

impl Callback {
    /// Reads the parts of a node that is not claimed yet: once it is, another module may add the
    /// item again, and write its own.
    ///
    /// # Safety
    ///
    /// The node must have been unlinked by the current task, and must not have been run or passed.
    #[inline(always)]
    unsafe fn of(node: NonNull<Node>) -> Self {
        // SAFETY: A node that was linked is valid until it is run or passed.
        let this = unsafe { node.as_ref() };
        Self {
            run: this.run,
            pins: this.pins,
            // SAFETY: The reference is used only if the node is claimed, and then its owner is
            // pinned.
            vtable: unsafe { this.vtable() },
        }
    }
}

/// Runs a node. `callback` was read before it was claimed, and `next` is the rest of its batch.
///
/// # Safety
///
/// The node must have been unlinked by the current task, which owns it and runs its works; this
/// must be permanent text.
#[inline(always)]
unsafe fn run_node(node: NonNull<Node>, callback: Callback, next: *mut bindings::callback_head) {
    let record = running::begin(node, next, callback.vtable);
    // SAFETY: The node is ours to run, by the function's contract. This is a callback, and the
    // owner's text is mapped because the owner is pinned.
    unsafe { (callback.run)(node) };
    // The node and the item belong to the callee, which may have freed them.
    running::end(record);
    // SAFETY: This is the pin of the node, and this text is permanent.
    unsafe { callback.pins.unpin() };
}

/// Runs an `Arc` or a closure, unless it was cancelled.
///
/// # Safety
///
/// As [`run_box`], but the head of an `Arc` or of a closure.
#[inline(never)]
unsafe extern "C" fn run_work(head: *mut bindings::callback_head) {
    // SAFETY: The head is at the beginning of a node, by the function's contract.
    let node = unsafe { NonNull::new_unchecked(head.cast::<Node>()) };
    // Before the node is claimed: once it is running, another thread may queue it again.
    //
    // SAFETY: A node that was linked is valid until it is run or passed.
    let (next, callback) = unsafe { ((*head).next, Callback::of(node)) };
    // SAFETY: The node is still valid, as it was neither run nor passed.
    if unsafe { node.as_ref() }.state.claim() {
        // SAFETY: The node was queued to this task, and `claim` has made it ours to run.
        unsafe { run_node(node, callback, next) };
    } else {
        // SAFETY: The node is no longer linked, and will not be run.
        unsafe { pass_by(node) };
    }
}

/// Passes a node that was disarmed.
///
/// # Safety
///
/// As [`run_box`].
unsafe extern "C" fn run_disarmed(head: *mut bindings::callback_head) {
    // SAFETY: The head is at the beginning of a node, which is not linked any more.
    unsafe { pass_by(NonNull::new_unchecked(head.cast::<Node>())) };
}

/// Releases a node that is no longer linked, and that was cancelled or disarmed.
///
/// # Safety
///
/// The node must have been unlinked, by the target or by `task_work_cancel()`, and belong to the
/// caller, which must be in permanent text.
#[cold]
#[inline(never)]
unsafe fn pass_by(node: NonNull<Node>) {
    // SAFETY: The node is valid until it is released below.
    let this = unsafe { node.as_ref() };
    let owner = this.owner;
    loop {
        let word = this.state.load();
        match word.state() {
            state::CANCELLED => {
                // SAFETY: A node that was cancelled still has its pin, which is dropped below.
                let Kind::Arc { release } = unsafe { this.vtable() }.kind else {
                    return;
                };
                orphans::remove(word.target());
                this.state.release();
                // SAFETY: The thread that has cancelled the node has left the node's reference and
                // pin to us; the owner's text is mapped because the owner is pinned.
                unsafe { release(node) };
                // SAFETY: The pin of the node is ours, as above, and is dropped once.
                unsafe { owner.unpin() };
                return;
            }
            state::ORPHAN => {
                orphans::remove(word.target());
                // SAFETY: Orphans are closures, and the reference of the list is ours.
                return unsafe { ClosureHead::put(node.cast()) };
            }
            state::DISARMED if this.state.hand_over(state::DISARMED, state::SPENT) => return,
            state::DISARMED => {}
            // SAFETY: `link` is the beginning of the box's memory, as `discard` has returned it.
            // The memory was allocated by `kmalloc`, and the teardown has left it to us.
            state::FREEABLE => return unsafe { bindings::kfree(this.link.load(Relaxed)) },
            _ => return,
        }
    }
}

/// The result of a cancellation.
#[derive(Debug, PartialEq, Eq)]
pub enum Cancel<T> {
    /// It will not run; here it is.
    Cancelled(T),
    /// Its target has begun to run it, or has done so.
    TooLate,
    /// It is not pending on that task: it was never added to it, was added to another one since, or
    /// was cancelled before.
    NotQueued,
}

impl<T> Cancel<T> {
    /// Returns the item, if it was cancelled.
    ///
    /// # Context
    ///
    /// Any context in which the item may be dropped.
    pub fn cancelled(self) -> Option<T> {
        match self {
            Cancel::Cancelled(item) => Some(item),
            Cancel::TooLate | Cancel::NotQueued => None,
        }
    }
}

/// Cancels an item that is pending on `task`; that very item, by its identity.
///
/// A cancelled item is not run. An item that is pending on another task is left alone, even if the
/// item is added there at the same time.
///
/// The item stays alive, its module pinned, and it cannot be added again, until the target passes
/// the place where it was linked. In a kernel tree that has this file, the item is unlinked
/// instead, unless the target is about to run it.
///
/// # Context
///
/// Any context but NMI. Does not sleep. The caller must not hold the `pi_lock` of a task.
///
/// C: `task_work_cancel()` in [`kernel/task_work.c`](srctree/kernel/task_work.c).
#[doc(alias = "task_work_cancel")]
pub fn cancel<T, const ID: u64>(task: &Task, item: &Arc<T>) -> Cancel<Arc<T>>
where
    T: TaskWorkItem<ID, Pointer = Arc<T>> + HasTaskWork<T, ID> + Send + Sync + 'static,
{
    // SAFETY: `item` keeps the object valid.
    let node = unsafe { node_of::<T, ID>(Arc::as_ptr(item).cast_mut()) };
    // SAFETY: `item` keeps the object, and with it the node, valid. It is the node of an `Arc`.
    match unsafe { cancel_node(task, node) } {
        Cancelled::Now => Cancel::Cancelled(item.clone()),
        Cancelled::TooLate => Cancel::TooLate,
        Cancelled::NotQueued => Cancel::NotQueued,
    }
}

/// Cancels the node of an `Arc`.
///
/// # Safety
///
/// The node must be that of an `Arc`, and the caller must keep the object valid.
#[inline(never)]
unsafe fn cancel_node(task: &Task, node: NonNull<Node>) -> Cancelled {
    // SAFETY: The node is valid by the function's contract.
    let this = unsafe { node.as_ref() };
    let target = task.as_ptr() as usize;
    let word = this.state.load();
    // A node that was unlinked belongs to the thread that has unlinked it, as it belongs to the
    // target which takes it off the list. So the node is unlinked first, and claimed then: the
    // state alone does not say whether the node is linked, or by which add.
    if word.target() == target && word.state() == state::QUEUED && unlink(task, this) {
        // Before the node is idle: then another module may add it.
        //
        // SAFETY: The node was linked, and nothing has dropped its pin yet.
        let (kind, owner) = (unsafe { this.vtable() }.kind, this.owner);
        if this.state.reclaim() {
            if let Kind::Arc { release } = kind {
                // SAFETY: The node was queued and is ours, and with it the reference.
                unsafe { release(node) };
            }
            // SAFETY: The pin of the node is ours, as it is that of an add which was not run.
            unsafe { owner.unpin() };
            return Cancelled::Now;
        }
        // SAFETY: The node is no longer linked, and another thread has cancelled or disarmed it.
        unsafe { pass_by(node) };
        return Cancelled::NotQueued;
    }
    let result = this.state.cancel(target);
    if matches!(result, Cancelled::Now) {
        orphans::add(target);
    }
    result
}

/// Waits until an item is neither pending nor running, or was cancelled.
///
/// # Context
///
/// Process context. Sleeps, interruptibly. In an interrupt it is refused, unless it would not wait.
///
/// # Errors
///
/// * [`ERESTARTSYS`] if a signal came;
/// * [`EDEADLK`] if the current task is the one that is to run the item, or is running it, also if
///   the item is added to the current task while this waits; in an interrupt, which cannot wait;
///   and in the exit of a task, and in a worker of a workqueue, which get no signals, unless the
///   wait is limited to a minute.
pub fn wait<T, const ID: u64>(item: &Arc<T>) -> Result
where
    T: TaskWorkItem<ID, Pointer = Arc<T>> + HasTaskWork<T, ID> + Send + Sync + 'static,
{
    // SAFETY: `item` keeps the object valid.
    let node = unsafe { node_of::<T, ID>(Arc::as_ptr(item).cast_mut()) };
    // SAFETY: The node is a field of the object, which `item` keeps valid.
    unsafe { node.as_ref() }.state.wait(Jiffies::MAX)
}

/// Like [`wait`], but no longer than `time`, which is rounded up to whole ticks.
///
/// # Context
///
/// Process context. Sleeps, interruptibly. In an interrupt it is refused, unless it would not wait.
///
/// # Errors
///
/// Fails like [`wait`], or with [`ETIMEDOUT`] once `time` is over.
pub fn wait_timeout<T, const ID: u64>(item: &Arc<T>, time: Delta) -> Result
where
    T: TaskWorkItem<ID, Pointer = Arc<T>> + HasTaskWork<T, ID> + Send + Sync + 'static,
{
    // SAFETY: `item` keeps the object valid.
    let node = unsafe { node_of::<T, ID>(Arc::as_ptr(item).cast_mut()) };
    // SAFETY: The node is a field of the object, which `item` keeps valid.
    unsafe { node.as_ref() }.state.wait(as_jiffies(time))
}

/// Takes a node off its task's list, if that can be done, and returns whether it was.
fn unlink(task: &Task, node: &Node) -> bool {
    // The kernel does not export this to modules.
    #[cfg(not(MODULE))]
    // SAFETY: The task is valid; the node is only compared with.
    let unlinked =
        unsafe { bindings::task_work_cancel(task.as_ptr(), (&raw const node.head).cast_mut()) };
    #[cfg(MODULE)]
    let unlinked = {
        let _ = (task, node);
        false
    };
    unlinked
}

/// Whether the kernel calls this function for works that are nodes.
fn is_of_node(function: bindings::task_work_func_t) -> bool {
    function.is_some_and(|function| {
        let address = function as usize;
        address == run_box as *const () as usize || address == run_work as *const () as usize
    })
}

/// Calls `seen` for each node of a batch that was taken off a list, with the address of the task.
///
/// # Safety
///
/// The works must be valid, linked by their heads, and kept from being run.
unsafe fn for_each_in_batch(
    task: usize,
    mut next: *mut bindings::callback_head,
    seen: &mut impl FnMut(usize, &Node),
) {
    // SAFETY: A work in the batch is valid, by the function's contract.
    while let Some(head) = unsafe { next.as_ref() } {
        if is_of_node(head.func) {
            // SAFETY: The function says that the head is at the beginning of a node.
            seen(task, unsafe { &*next.cast::<Node>() });
        }
        next = head.next;
    }
}

/// Calls `seen` for each node that is pending on a task, with the address of that task: those in
/// the lists of tasks, in batches behind a running callback, and in queues.
///
/// `seen` is called in atomic context, possibly with a task's `pi_lock` held.
fn for_each_pending<F: FnMut(usize, &Node)>(seen: &mut F) {
    /// # Safety
    ///
    /// `data` must be an `F`; the others valid, the work that of a [`Node`].
    unsafe extern "C" fn call<F: FnMut(usize, &Node)>(
        task: *mut bindings::task_struct,
        head: *mut bindings::callback_head,
        data: *mut c_void,
    ) {
        // SAFETY: `data` is an `F` by the function's contract.
        let seen = unsafe { &mut *data.cast::<F>() };
        // SAFETY: The work is that of a valid node, by the function's contract.
        seen(task as usize, unsafe { &*head.cast::<Node>() });
    }

    for function in [run_box, run_work] {
        // SAFETY: `call::<F>` is given the closure that it expects, which outlives the call, and
        // works with these functions are nodes.
        unsafe {
            bindings::tether_for_each_task_work(
                Some(function),
                Some(call::<F>),
                ptr::from_mut(seen).cast(),
            )
        };
    }
    running::for_each(|running| {
        // SAFETY: The callback is kept from returning, so that the works behind it are not run.
        unsafe { for_each_in_batch(running.task, running.next, seen) };
    });
    ordered::for_each_pending(None, seen);
}

/// Disarms the pending works of a module that is removed although it is pinned, and returns their
/// number.
///
/// The items are dropped, but the nodes stay linked until their targets pass them; so the memory
/// that they are in stays until then. An item that is shared is leaked: references to it may be
/// dropped later, and would free it.
pub(crate) fn disarm(owner: &'static Owner) -> usize {
    let mut count = 0;
    // The disarmed nodes, chained through `link`.
    let mut disarmed: *mut Node = ptr::null_mut();
    let mut claim = |_: usize, node: &Node| {
        if !ptr::eq(node.owner, owner) || !node.state.is_pinned() {
            return;
        }
        // SAFETY: The owner's end calls this while its text is there, and the node has a pin.
        let kind = unsafe { node.vtable() }.kind;
        let new = match kind {
            Kind::Box { .. } => state::DISARMED,
            Kind::Arc { .. } => state::SPENT,
            // The owner of a queue is never removed.
            Kind::Queue => return,
            Kind::Closure { .. } => {
                // For the loop below.
                //
                // SAFETY: Closures have such a head, with a reference while the node is linked.
                unsafe { ClosureHead::get(node) };
                state::ORPHAN
            }
        };
        // If this fails, the thread that has claimed the node, to run it or to cancel it, has all
        // that it needs.
        if let Some(old) = node.state.disarm(new) {
            count += 1;
            if old.state() == state::CANCELLED {
                orphans::remove(old.target());
            }
            if new == state::ORPHAN {
                orphans::add(old.target());
            }
            // The target reads this only after the lock that is held here was released, or after
            // the callback that is held here has returned.
            //
            // SAFETY: The node is valid, and linked.
            unsafe {
                let head = (&raw const node.head).cast_mut();
                (&raw mut (*head).func).write_volatile(Some(run_disarmed));
            }
            // SAFETY: The pin of the node is ours, because `disarm` succeeds once for each
            // queueing, and then neither the target nor a canceller drops it.
            unsafe { owner.unpin_disarmed() };
            node.link.store(disarmed.cast(), Relaxed);
            disarmed = ptr::from_ref(node).cast_mut();
        } else if matches!(kind, Kind::Closure { .. }) {
            // SAFETY: The reference is that from above. It is not the last: the node is linked.
            unsafe { ClosureHead::put(NonNull::from(node).cast()) };
        }
    };
    for_each_pending(&mut claim);

    // Not above, where a lock is held that waking takes.
    while let Some(node) = NonNull::new(disarmed) {
        // SAFETY: The node is valid: its memory is not freed before it is handed over below.
        let this = unsafe { node.as_ref() };
        disarmed = this.link.load(Relaxed).cast();
        this.state.wake();
        // SAFETY: The owner's end calls this while its text is there.
        match unsafe { this.vtable() }.kind {
            Kind::Box { discard } => {
                // SAFETY: The item is ours, and the module's text is still there.
                let memory = unsafe { discard(node) };
                this.link.store(memory, Relaxed);
                if !this.state.hand_over(state::DISARMED, state::FREEABLE) {
                    // SAFETY: The target has passed the node before, and left the box's memory to
                    // us.
                    unsafe { bindings::kfree(memory) };
                }
            }
            Kind::Closure { discard } => {
                // SAFETY: The closure is ours, and the module's text is still there.
                unsafe { discard(node) };
                // SAFETY: The reference is that from above.
                unsafe { ClosureHead::put(node.cast()) };
            }
            Kind::Arc { .. } | Kind::Queue => {}
        }
    }
    count
}

/// A line of `tether/outstanding`: works of one type on one task.
struct Line {
    owner: &'static Owner,
    /// Keeps the module, and with it `name`, until the line is written.
    _entered: Entered,
    name: fn() -> &'static str,
    task: usize,
    running: bool,
    /// When the oldest of them was added.
    added: u32,
    works: usize,
}

/// Collects the lines of `tether/outstanding`.
///
/// Works are looked at in atomic context, where nothing can be allocated and formatting would take
/// too long: the space is allocated before, and works of one type on one task share a line.
struct Lines {
    lines: KVec<Line>,
    /// Where the lines of the task begin that is being looked at.
    task: (usize, usize),
    /// How many works found no space.
    left: usize,
}

impl Lines {
    const CAPACITY: usize = 256;

    fn add(&mut self, line: Line) {
        if self.task.0 != line.task {
            self.task = (line.task, self.lines.len());
        }
        let (_, first) = self.task;
        let same = self.lines.iter_mut().skip(first).find(|other| {
            ptr::eq(other.owner, line.owner)
                && ptr::fn_addr_eq(other.name, line.name)
                && other.running == line.running
        });
        match same {
            Some(other) => {
                other.works += line.works;
                if (other.added.wrapping_sub(line.added) as i32) > 0 {
                    other.added = line.added;
                }
            }
            None => {
                if self.lines.push_within_capacity(line).is_err() {
                    self.left += 1;
                }
            }
        }
    }

    fn add_pending(&mut self, task: usize, node: &Node) {
        // Another thread may cancel the work now, and the module may be removed: that waits for the
        // guard. If the work is pinned after the guard was taken, then the record is that of its
        // module.
        let Ok(entered) = node.owner.enter() else {
            return;
        };
        if node.state.is_pinned() {
            self.add(Line {
                owner: node.owner,
                _entered: entered,
                // SAFETY: The owner was entered above, and the node had its pin afterwards.
                name: unsafe { node.vtable() }.name,
                task,
                running: false,
                added: node.state.added(),
                works: 1,
            });
        }
    }

    fn add_running(&mut self, running: &running::Running) {
        // SAFETY: The callback is kept from returning, so that its owner is pinned.
        let vtable = unsafe { running.vtable.as_ref() };
        let Ok(owner) = Owner::of(vtable.run as *const ()) else {
            return;
        };
        // A module that is being removed waits for the callback, which is kept from returning.
        let Ok(entered) = owner.enter() else {
            return;
        };
        self.add(Line {
            owner,
            _entered: entered,
            name: vtable.name,
            task: running.task,
            running: true,
            added: 0,
            works: 1,
        });
    }
}

/// Writes the pending and the running works, for `tether/outstanding`.
///
/// Works behind the callback of another subsystem, in a batch that their task has begun to run, are
/// not found.
pub(crate) fn show_outstanding(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut lines = Lines {
        lines: KVec::with_capacity(Lines::CAPACITY, GFP_KERNEL).map_err(|_| fmt::Error)?,
        task: (0, 0),
        left: 0,
    };
    running::for_each(|running| lines.add_running(&running));
    for_each_pending(&mut |task, node| lines.add_pending(task, node));
    for line in &lines.lines {
        // SAFETY: The function has no requirements: the address is compared.
        let pid = unsafe { bindings::tether_pid_of(line.task, 0) };
        f.write_fmt(fmt!("{} task_work {} ", line.owner.name(), pid))?;
        if line.running {
            f.write_fmt(fmt!("- {} running", (line.name)()))?;
        } else {
            let age = (jiffies() as u32).wrapping_sub(line.added);
            // SAFETY: The function has no requirements.
            let age = unsafe { bindings::jiffies64_to_msecs(age.into()) };
            f.write_fmt(fmt!("{} {}", age, (line.name)()))?;
        }
        if line.works > 1 {
            f.write_fmt(fmt!(" x{}", line.works))?;
        }
        f.write_str("\n")?;
    }
    if lines.left != 0 {
        f.write_fmt(fmt!("# and {} task works more\n", lines.left))?;
    }
    Ok(())
}

/// The part of a boxed closure that does not depend on its type.
///
/// # Invariants
///
/// It is at the beginning of an allocation by `kmalloc`, which stays as long as `refs` is not zero:
/// one is the list's, while the node is linked, and one the [`Pending`]'s.
#[repr(C)]
struct ClosureHead {
    node: Node,
    refs: Atomic<u32>,
}

impl ClosureHead {
    /// Takes a reference.
    ///
    /// # Safety
    ///
    /// The node must be that of a closure, and there must be a reference.
    unsafe fn get(node: &Node) {
        // SAFETY: By the function's contract; the node is at the beginning.
        let this = unsafe { &*ptr::from_ref(node).cast::<Self>() };
        this.refs.fetch_add(1u32, Relaxed);
    }

    /// Whether the caller's reference is the only one. Then no other task can copy one: that needs
    /// a reference, or a linked node, which has one.
    #[inline(always)]
    fn is_last(&self) -> bool {
        load_acquire(&self.refs) == 1
    }

    /// Ends the run of a closure, and drops the list's reference.
    ///
    /// # Safety
    ///
    /// The caller must have claimed the node, and taken the closure out of it.
    unsafe fn finish(this: NonNull<Self>) {
        // SAFETY: The list's reference keeps it valid.
        let head = unsafe { this.as_ref() };
        // Without another reference there is no `Pending`, and nothing waits.
        if !head.is_last() {
            head.node.state.finish();
        }
        // SAFETY: The list's reference is the caller's, and the closure was taken out.
        unsafe { Self::put(this) };
    }

    /// Drops a reference. The closure must have been taken out of it, or be taken by others.
    ///
    /// # Safety
    ///
    /// The reference must be the caller's.
    #[inline(always)]
    unsafe fn put(this: NonNull<Self>) {
        // SAFETY: The reference keeps it valid.
        let head = unsafe { this.as_ref() };
        if head.is_last() || head.refs.fetch_sub(1u32, Full) == 1 {
            // SAFETY: It was allocated by `kmalloc`, and this was the last reference.
            unsafe { bindings::kfree(this.as_ptr().cast()) };
        }
    }
}

/// A boxed closure.
///
/// # Invariants
///
/// `func` is initialised until the state of the node is no longer [`state::QUEUED`]; then it belongs
/// to the thread that has changed the state.
#[repr(C)]
struct Closure<F> {
    head: ClosureHead,
    func: UnsafeCell<MaybeUninit<F>>,
}

impl<F> Closure<F>
where
    F: FnOnce(&Context<'_>) + Send + 'static,
{
    const VTABLE: Vtable = Vtable {
        name: type_name::<F>,
        kind: Kind::Closure {
            discard: Self::discard,
        },
        run: Self::run,
    };

    /// Allocates the memory of a closure, by `kmalloc`.
    #[inline]
    fn allocate(flags: Flags) -> Option<NonNull<Self>> {
        if flags == GFP_KERNEL && align_of::<Self>() <= align_of::<u64>() {
            // `KBox` goes through `krealloc()`, which takes twice as long.
            //
            // SAFETY: The function has no requirements. Its memory is aligned for a `u64`.
            NonNull::new(unsafe { bindings::tether_kmalloc(size_of::<Self>()) }.cast())
        } else {
            let memory = KBox::<Self>::new_uninit(flags).ok()?;
            Some(NonNull::from(KBox::leak(memory)).cast())
        }
    }

    /// Takes the closure out.
    ///
    /// # Safety
    ///
    /// The caller must own the closure, because it has changed the state of the node accordingly.
    unsafe fn take(&self) -> F {
        // SAFETY: It is there, and ours, by the function's contract and the type's invariants.
        unsafe { (*self.func.get()).assume_init_read() }
    }

    /// # Safety
    ///
    /// The node must be that of a `Closure<F>` which the caller has claimed; the list's reference
    /// is used.
    unsafe fn run(node: NonNull<Node>) {
        // SAFETY: By the function's contract; the node is at the beginning.
        let this = unsafe { node.cast::<Self>().as_ref() };
        // SAFETY: Who runs it has changed its state.
        let func = unsafe { this.take() };
        // SAFETY: This is a callback.
        func(unsafe { Context::new() });
        // SAFETY: The closure has returned, and the list's reference is ours.
        unsafe { ClosureHead::finish(node.cast()) };
    }

    /// # Safety
    ///
    /// The node must be that of a `Closure<F>` that was disarmed.
    unsafe fn discard(node: NonNull<Node>) {
        // SAFETY: By the function's contract; the node is at the beginning.
        drop(unsafe { node.cast::<Self>().as_ref().take() });
    }
}

/// A closure that was added to a task.
///
/// The closure runs even if this handle is dropped or leaked: the handle serves to cancel it or to
/// wait for it. It may be dropped in any context but NMI.
///
/// `F` selected the callback when the closure was added, so that the type is invariant in `F`.
pub struct Pending<F> {
    closure: NonNull<Closure<F>>,
    _closure: PhantomData<*mut F>,
}

// SAFETY: The closure is `Send`, so that the owner of the `Pending` may take it out in any task.
unsafe impl<F: Send> Send for Pending<F> {}
// SAFETY: As above.
unsafe impl<F: Send> Sync for Pending<F> {}

impl<F> Pending<F> {
    fn node(&self) -> &Node {
        // SAFETY: Our reference keeps it valid.
        unsafe { &self.closure.as_ref().head.node }
    }

    /// Returns whether the closure has run and has returned, or was dropped by the teardown of its
    /// module.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn is_done(&self) -> bool {
        !self.node().state.load().is_busy()
    }

    /// Waits until the closure has run, or was dropped by the teardown of its module.
    ///
    /// # Context
    ///
    /// Process context. Sleeps, interruptibly. In an interrupt it is refused, unless it would not
    /// wait.
    ///
    /// # Errors
    ///
    /// * [`ERESTARTSYS`] if a signal came;
    /// * [`EDEADLK`] if the current task is the one that is to run the closure, or is running it;
    ///   in an interrupt, which cannot wait; and in the exit of a task, which gets no signals,
    ///   unless the wait is limited to a minute.
    pub fn wait(&self) -> Result {
        self.node().state.wait(Jiffies::MAX)
    }

    /// Like [`Pending::wait`], but no longer than `time`, which is rounded up to whole ticks.
    ///
    /// # Context
    ///
    /// Process context. Sleeps, interruptibly. In an interrupt it is refused, unless it would not
    /// wait.
    ///
    /// # Errors
    ///
    /// Fails like [`Pending::wait`], or with [`ETIMEDOUT`] once `time` is over.
    pub fn wait_timeout(&self, time: Delta) -> Result {
        self.node().state.wait(as_jiffies(time))
    }

    /// Takes the closure back, if it has not begun to run. Its module is not pinned any more.
    ///
    /// The memory of the closure stays allocated until the target passes it. The number of such
    /// closures on one target is limited: see [`add_fn`].
    ///
    /// # Context
    ///
    /// Any context but NMI. Does not sleep.
    #[doc(alias = "task_work_cancel")]
    pub fn cancel(self) -> Cancel<F>
    where
        F: FnOnce(&Context<'_>) + Send + 'static,
    {
        let node = self.node();
        if !node.state.orphan() {
            return Cancel::TooLate;
        }
        orphans::add(node.state.load().target());
        // SAFETY: `orphan` has changed the state, so that the closure is ours.
        let func = unsafe { self.closure.as_ref().take() };
        // SAFETY: The pin of the node is ours for the same reason, and is dropped once.
        unsafe { node.owner.unpin() };
        Cancel::Cancelled(func)
    }
}

impl<F> fmt::Debug for Pending<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("is_done", &self.is_done())
            .finish_non_exhaustive()
    }
}

impl<F> Drop for Pending<F> {
    fn drop(&mut self) {
        // SAFETY: The reference is ours.
        unsafe { ClosureHead::put(self.closure.cast()) };
    }
}

/// Adds a closure to `task`, which will call it. It is boxed: one allocation.
///
/// # Context
///
/// Any context but NMI in which an allocation with `flags` is allowed.
///
/// # Errors
///
/// The closure comes back with
///
/// * [`ENOMEM`] if it could not be boxed;
/// * [`EAGAIN`] if several thousand cancelled works are still linked on the task, because the task
///   has not run since;
/// * [`ESRCH`], [`EINVAL`] or [`ENODEV`] as for [`add`].
pub fn add_fn<F>(task: &Task, func: F, mode: Mode, flags: Flags) -> Result<Pending<F>, Refused<F>>
where
    F: FnOnce(&Context<'_>) + Send + 'static,
{
    add_fn_by(task, func, flags, |node| {
        if orphans::may_be_full(task) && orphans::is_full_on(task) {
            return Err(EAGAIN);
        }
        // SAFETY: The node is queued to `task` by its state, and stays valid until it is run.
        unsafe { add_node(task, node, mode) }
    })
}

/// Boxes `func`, and gives its node to `queue`; or takes it back.
fn add_fn_by<F>(
    task: &Task,
    func: F,
    flags: Flags,
    queue: impl FnOnce(NonNull<Node>) -> Result,
) -> Result<Pending<F>, Refused<F>>
where
    F: FnOnce(&Context<'_>) + Send + 'static,
{
    let Some(closure) = Closure::<F>::allocate(flags) else {
        return Err(Refused::new(func, ENOMEM));
    };
    let raw = closure.as_ptr();
    // It is put together where it is: on the stack first it would be copied.
    //
    // SAFETY: The memory is ours, and valid for writes.
    unsafe {
        Node::init(
            &raw mut (*raw).head.node,
            &Closure::<F>::VTABLE,
            state::QUEUED,
            task.as_ptr() as usize,
        )
    };
    // INVARIANT: One reference is the list's, one the `Pending`'s.
    //
    // SAFETY: As above.
    unsafe { (&raw mut (*raw).head.refs).write(Atomic::new(2)) };
    // SAFETY: As above.
    unsafe { (&raw mut (*raw).func).write(UnsafeCell::new(MaybeUninit::new(func))) };
    match queue(closure.cast()) {
        Ok(()) => Ok(Pending {
            closure,
            _closure: PhantomData,
        }),
        Err(error) => {
            // SAFETY: The memory was leaked from a box above, and the node was not queued.
            let closure = unsafe { KBox::from_raw(closure.as_ptr()) };
            // SAFETY: The closure was not run, and the node was not queued, so that it is ours. The
            // rest of the box has no destructor.
            Err(Refused::new(unsafe { closure.take() }, error))
        }
    }
}
