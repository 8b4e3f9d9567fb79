// SPDX-License-Identifier: GPL-2.0

//! Work that a task does in its own context.
//!
//! A task work is an object that is handed to a task, which calls its [`TaskWorkItem::run`] the
//! next time it leaves the kernel, or earlier, or when it exits. It runs with that task's address
//! space, credentials and signals, and may sleep.
//!
//! # Vocabulary
//!
//! * An *item* is what is queued: a `Pin<KBox<T>>` or an [`Arc<T>`] whose `T` has a [`TaskWork`]
//!   field, by which it is linked, so that nothing is allocated; or a closure, which is boxed.
//! * To *add* an item is to give it to a task, its *target*. It is *pending* until the target takes
//!   it, and then *running* until its callback has returned.
//! * To *cancel* an item is to take it back while it is pending.
//! * The *mode* says how the target is told: see [`Mode`].
//!
//! ```text
//!             add                    the target takes it             run returns
//!   idle ------------------> pending -------------------> running ---------------> idle
//!    ^                        |   |
//!    +--- refused: item back  |   +-- the target exits: it runs then, in the dying task
//!    |                        |
//!    +------------------------+ cancelled (`Arc`, closure): item back
//! ```
//!
//! # What holds
//!
//! * An item that was added runs once, in the target's context, unless it is cancelled. If it cannot
//!   be added, because the target has exited or is a kernel thread, it comes back in the error.
//! * While it is pending it pins the module that has its callback: `rmmod` fails with `EAGAIN`. A
//!   target that never returns to user space, because it is stopped or blocked, may so keep a
//!   module loaded for as long as its user likes; `tether/outstanding` in debugfs names it.
//! * There is no order among items: the kernel's list is last in, first out. [`Ordered`] keeps one.
//! * Between adding and running the target may have executed another program, changed its
//!   credentials, or begun to exit; [`Context`] says what there is when it runs.
//! * Items also run in the middle of a system call, not only at its end: before a task stops for
//!   its tracer, in signal delivery, while it waits in io_uring.
//! * An item is not added from inside its own callback ([`EBUSY`]): the target would never get out
//!   of the kernel. It is not detected when a callback adds one fresh item after the other.
//!
//! # What can be cancelled
//!
//! | item | cancelled by | its node | the module |
//! |---|---|---|---|
//! | closure | [`Pending::cancel`] | is Tether's own, and goes when the target comes by | is let go at once |
//! | `Arc<T>` | [`cancel`] | is in the item, which stays alive, and cannot be added again, until the target comes by | stays pinned until then |
//! | `Pin<KBox<T>>` | not at all: the node is in the item, whose memory the target's list goes through | | |
//!
//! (The kernel can unlink a node, `task_work_cancel()`, but does not let modules do so. In a kernel
//! tree it is unlinked, if the target has not begun to run its works.)
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
        atomic::{
            Acquire,
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
        read_once,
        write_once,
        Owner,
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
    cell::{
        Cell,
        UnsafeCell, //
    },
    ffi::c_void,
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::{
        self,
        NonNull, //
    }, //
};

// The path is for the external build, whose root names this file by one.
#[path = "task_work/ordered.rs"]
mod ordered;
pub(crate) use ordered::init;
pub use ordered::Ordered;

/// How a target is told that there is work for it.
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

    /// The task that this runs in.
    pub fn task(&self) -> &CurrentTask {
        // SAFETY: By the type's invariants this is the task that `self` belongs to, and the
        // reference does not outlive `self`. `CurrentTask` is transparent.
        unsafe { &*Task::current_raw().cast::<CurrentTask>() }
    }

    /// Whether the task is exiting (`PF_EXITING`).
    ///
    /// Its address space, open files, root and working directory and its namespaces are gone then
    /// (`do_exit()` in [`kernel/exit.c`](srctree/kernel/exit.c)); its credentials and its pid are
    /// still there.
    pub fn is_exiting(&self) -> bool {
        task_flags(self.task()) & bindings::PF_EXITING != 0
    }

    /// The task's address space, if it still has one.
    ///
    /// It may be another one than when the item was added: the task may have executed a new
    /// program since.
    pub fn mm(&self) -> Option<&MmWithUser> {
        self.task().mm()
    }
}

fn jiffies() -> Jiffies {
    // SAFETY: The kernel's count of ticks may be read at any time.
    unsafe { ptr::read_volatile(&raw const bindings::jiffies) }
}

/// The flags of a task (`PF_*`), which may change at any time unless it is the current one.
fn task_flags(task: &Task) -> u32 {
    // SAFETY: `task` is a valid task; C reads its flags in the same way.
    unsafe { ptr::read_volatile(&raw const (*task.as_ptr()).flags) }
}

/// Whether a task is a kernel thread (`PF_KTHREAD`).
pub(crate) fn is_kernel_thread(task: &Task) -> bool {
    task_flags(task) & bindings::PF_KTHREAD != 0
}

/// An object that can be added to a task, by the [`TaskWork`] field with this `ID`.
pub trait TaskWorkItem<const ID: u64 = 0>: Sized {
    /// What owns the object while it is pending: `Pin<KBox<Self>>` or `Arc<Self>`.
    type Pointer: TaskWorkPointer<ID>;

    /// Does the work, in the context of the task that it was added to. May sleep.
    ///
    /// Adding the item again from inside its own callback is refused with [`EBUSY`].
    fn run(this: Self::Pointer, context: &Context<'_>);
}

/// The part of a [`TaskWork`] that does not depend on its type.
///
/// # Invariants
///
/// * `vtable` is that of the pointer that the node comes from, and a constant of `owner`'s.
/// * While `state` is [`PENDING`] or [`CANCELLABLE`] the node is queued, or is about to be by who
///   has made it so; it holds a pin of its owner, and the item's pointer.
/// * `target` is the task that it was added to last. It is only compared, never followed.
#[doc(hidden)]
#[repr(C)]
pub struct Node {
    head: bindings::callback_head,
    /// That of `vtable`.
    run: unsafe fn(NonNull<Node>),
    vtable: &'static Vtable,
    /// The pins of `owner`.
    pins: *mut c_void,
    owner: &'static Owner,
    target: Atomic<*mut bindings::task_struct>,
    state: Atomic<u32>,
    /// How many wait for it to be no longer [`BUSY`].
    waiters: Atomic<u32>,
    /// When it was added, for `tether/outstanding`.
    added: Cell<u32>,
}

/// What is done with a node by its type; functions in its owner's text.
#[doc(hidden)]
pub struct Vtable {
    name: fn() -> &'static str,
    kind: Kind,
    /// Runs the item, in a callback. The node is the callee's.
    run: unsafe fn(NonNull<Node>),
}

/// What a node is in, and what is done with it there besides being run.
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

/// A state in which the item is pending or running.
const BUSY: u32 = 0x10;

/// Not queued.
const IDLE: u32 = 0;
/// Queued; nobody can take it back. Boxes are always in this state, queued or not; that their
/// callback is running is noted in [`running_slot`].
const PENDING: u32 = BUSY;
/// Queued; who makes it another state, has it.
const CANCELLABLE: u32 = BUSY | 1;
/// Its target has taken it from being cancellable.
const RUNNING: u32 = BUSY | 2;
/// Of a closure: its callback has returned.
const DONE: u32 = 2;
/// Of an `Arc`: linked still, but it will not run. The pin and the reference are held.
const CANCELLED: u32 = 3;
/// Of a closure: linked still, but only memory; no pin is held.
const ORPHAN: u32 = 4;
/// Its owner is gone: linked still, but only memory, which nobody frees.
const LEAKED: u32 = 5;
/// Of a box: its owner is going, and is about to drop the item.
const DISARMED: u32 = 6;
/// The target came by meanwhile.
const PASSED: u32 = 7;
/// The item was dropped: the target frees the memory, which begins at `target`.
const FREEABLE: u32 = 8;

impl Node {
    /// Makes one where it is to be.
    ///
    /// # Safety
    ///
    /// `slot` must be valid for writes.
    #[inline(never)]
    unsafe fn init(slot: *mut Self, vtable: &'static Vtable, state: u32) {
        // SAFETY: By the function's contract.
        unsafe { slot.write(Self::new(vtable, state)) };
    }

    #[inline(always)]
    fn new(vtable: &'static Vtable, state: u32) -> Self {
        // The vtable's address would not do: constants of two modules may be one.
        let function = vtable.run as *const ();
        let owner = Owner::of(function).unwrap_or_else(|_| Owner::unknown());
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
            target: Atomic::new(ptr::null_mut()),
            state: Atomic::new(state),
            waiters: Atomic::new(0),
            added: Cell::new(0),
        }
    }

    /// Whether it holds a pin; of a node that is linked.
    ///
    /// If not, its owner may be gone, and what it points at there; the record may be another's.
    fn is_pinned(&self) -> bool {
        matches!(
            self.state.load(Acquire),
            PENDING | CANCELLABLE | CANCELLED | RUNNING
        )
    }

    /// Makes it `state`, which is not [`BUSY`], and tells those who wait for that.
    ///
    /// # Safety
    ///
    /// The node must stay valid until this returns, also when it is free for others.
    unsafe fn finish(&self, state: u32) {
        // Fully ordered: either we see a waiter, or it sees the state.
        self.state.xchg(state, Full);
        self.wake();
    }

    fn wake(&self) {
        if self.waiters.load(Relaxed) != 0 {
            // SAFETY: It is only an address.
            unsafe { bindings::wake_up_var(self.state.as_ptr().cast()) };
        }
    }

    /// Waits, interruptibly, until the item is neither pending nor running.
    fn wait(&self, time: Jiffies) -> Result {
        if self.state.load(Acquire) & BUSY == 0 {
            return Ok(());
        }
        if ptr::eq(self.target.load(Relaxed), Task::current_raw()) {
            return Err(EDEADLK);
        }
        let time = time.min(c_long::MAX as Jiffies) as c_long;
        self.waiters.fetch_add(1u32, Full);
        // SAFETY: The state is valid for as long as `self` is borrowed.
        let left = unsafe { bindings::tether_wait_not(self.state.as_ptr(), BUSY, time) };
        self.waiters.fetch_sub(1u32, Full);
        match left {
            0 => Err(ETIMEDOUT),
            left if left < 0 => Err(ERESTARTSYS),
            _ => Ok(()),
        }
    }
}

/// Where it is noted that the box that `node` is in has a running callback.
///
/// Nothing in the box itself can say so, as the callback may have freed it. Two boxes that share a
/// slot may take it from each other: then one of them can be added from inside its callback.
fn running_slot(node: NonNull<Node>) -> &'static Atomic<*mut Node> {
    /// Each on a cache line of its own.
    #[repr(align(64))]
    struct Slot(Atomic<*mut Node>);

    static RUNNING: [Slot; 64] = [const { Slot(Atomic::new(ptr::null_mut())) }; 64];

    let address = node.as_ptr() as usize;
    &RUNNING[(address >> 6) % 64].0
}

/// The field by which an object is linked into a task's works.
///
/// Several fields of one struct are told apart by their `ID`.
///
/// # Invariants
///
/// `node` is initialised, and its vtable is that of the pointer that the item is added by.
#[pin_data]
#[repr(transparent)]
pub struct TaskWork<T: ?Sized, const ID: u64 = 0> {
    #[pin]
    node: Opaque<Node>,
    _item: PhantomData<T>,
}

// SAFETY: What is in the node is only touched by who has queued it, or by the task that runs it.
unsafe impl<T: ?Sized, const ID: u64> Send for TaskWork<T, ID> {}
// SAFETY: As above; what others look at is atomic.
unsafe impl<T: ?Sized, const ID: u64> Sync for TaskWork<T, ID> {}

impl<T: TaskWorkItem<ID>, const ID: u64> TaskWork<T, ID> {
    /// Creates the field.
    #[doc(alias = "init_task_work")]
    pub fn new() -> impl PinInit<Self> {
        let vtable = T::Pointer::VTABLE;
        // What is in a box is queued by whoever has that, and so is always ready for it.
        let state = match vtable.kind {
            Kind::Box { .. } => PENDING,
            _ => IDLE,
        };
        // INVARIANT: By what `VTABLE` promises.
        pin_init!(Self {
            node <- Opaque::ffi_init(move |node: *mut Node| {
                // SAFETY: `node` is valid for writes.
                unsafe { Node::init(node, vtable, state) };
                // What was here before may have a callback running, which has freed it.
                //
                // SAFETY: It was just written.
                let slot = running_slot(unsafe { NonNull::new_unchecked(node) });
                if read_once(slot) == node {
                    write_once(slot, ptr::null_mut());
                }
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
///   `from_node` is called with it. It was not [`BUSY`], and is made so.
/// * `VTABLE` must take such a node back to the pointer that it comes from.
pub unsafe trait TaskWorkPointer<const ID: u64>: Sized + Send + 'static {
    /// What is done with such a node.
    #[doc(hidden)]
    const VTABLE: &'static Vtable;

    /// Gives up the pointer for its node, unless that is in use.
    #[doc(hidden)]
    fn into_node(self) -> Result<NonNull<Node>, Self>;

    /// Takes back what `into_node` has given up, of a node that was not queued.
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

/// What is done with the nodes of boxes.
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
        let slot = running_slot(node);
        write_once(slot, node.as_ptr());
        // SAFETY: By the function's contract; this is a callback.
        T::run(unsafe { Self::into_box(node) }, unsafe { Context::new() });
        write_once(slot, ptr::null_mut());
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
// A box has one owner, so that its node is not queued; whether its callback runs is looked up.
unsafe impl<T, const ID: u64> TaskWorkPointer<ID> for Pin<KBox<T>>
where
    T: TaskWorkItem<ID, Pointer = Self> + HasTaskWork<T, ID> + Send + 'static,
{
    const VTABLE: &'static Vtable = &BoxWork::<T, ID>::VTABLE;

    #[inline]
    fn into_node(self) -> Result<NonNull<Node>, Self> {
        // SAFETY: The object is not moved: it stays pinned, behind a raw pointer.
        let this = KBox::into_raw(unsafe { Pin::into_inner_unchecked(self) });
        // SAFETY: `this` was just a box.
        let node = unsafe { node_of::<T, ID>(this) };
        if read_once(running_slot(node)) == node.as_ptr() {
            // SAFETY: It was given up above, and is taken back.
            return Err(unsafe { BoxWork::<T, ID>::into_box(node) });
        }
        Ok(node)
    }

    #[inline]
    unsafe fn from_node(node: NonNull<Node>) -> Self {
        // SAFETY: It came from `into_node`.
        unsafe { BoxWork::<T, ID>::into_box(node) }
    }
}

/// What is done with the nodes of `Arc`s.
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
        // SAFETY: By the function's contract.
        let this = unsafe { Self::into_arc(node) };
        // Of our own, because the callback may let go of its: the node is busy until that has
        // returned, so that it cannot be added again from inside.
        let held = this.clone();
        // SAFETY: This is a callback.
        T::run(this, unsafe { Context::new() });
        // SAFETY: `held` keeps the object valid.
        unsafe { node.as_ref().finish(IDLE) };
        drop(held);
    }

    /// # Safety
    ///
    /// As [`Self::into_arc`].
    unsafe fn release(node: NonNull<Node>) {
        // SAFETY: By the function's contract.
        let this = unsafe { Self::into_arc(node) };
        // SAFETY: `this` keeps the object valid.
        unsafe { node.as_ref().finish(IDLE) };
        drop(this);
    }
}

// SAFETY: The node is in what the `Arc` holds, which is always pinned, and a reference is owned by
// the node until it is taken back. Of all who share it, only who has made it busy gets it.
unsafe impl<T, const ID: u64> TaskWorkPointer<ID> for Arc<T>
where
    T: TaskWorkItem<ID, Pointer = Self> + HasTaskWork<T, ID> + Send + Sync + 'static,
{
    const VTABLE: &'static Vtable = &ArcWork::<T, ID>::VTABLE;

    #[inline]
    fn into_node(self) -> Result<NonNull<Node>, Self> {
        // SAFETY: `self` keeps the object valid.
        let node = unsafe { node_of::<T, ID>(Arc::as_ptr(&self).cast_mut()) };
        // SAFETY: As above.
        let state = &unsafe { node.as_ref() }.state;
        // Acquire pairs with the release of who ran it last.
        if state.cmpxchg(IDLE, CANCELLABLE, Acquire).is_err() {
            return Err(self);
        }
        let _ = Arc::into_raw(self);
        Ok(node)
    }

    #[inline]
    unsafe fn from_node(node: NonNull<Node>) -> Self {
        // SAFETY: It came from `into_node`, which gave up a reference.
        let this = unsafe { ArcWork::<T, ID>::into_arc(node) };
        // SAFETY: `this` keeps the object valid.
        unsafe { node.as_ref().finish(IDLE) };
        this
    }
}

/// Adds `item` to `task`, which will run it.
///
/// May be called in any context but NMI; nothing is allocated.
///
/// # Errors
///
/// The item comes back with
///
/// * [`ESRCH`] if the task has exited, or is so far into its exit that it runs no more works;
/// * [`EINVAL`] if the task is a kernel thread, which would run it only when it ends;
/// * [`EBUSY`] if the item is pending or running, or was cancelled and its target has not come by
///   since;
/// * [`ENODEV`] if the module of its callback is going, or is one that Tether does not know.
///
/// C: `task_work_add()` in [`kernel/task_work.c`](srctree/kernel/task_work.c).
#[doc(alias = "task_work_add")]
#[inline]
pub fn add<P, const ID: u64>(task: &Task, item: P, mode: Mode) -> Result<(), Refused<P>>
where
    P: TaskWorkPointer<ID>,
{
    add_by(item, |node| {
        // Nobody asks of a box whom it was added to.
        if !matches!(P::VTABLE.kind, Kind::Box { .. }) {
            // SAFETY: The node is valid and ours.
            write_once(&unsafe { node.as_ref() }.target, task.as_ptr());
        }
        // SAFETY: The node stays valid until it is run.
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
/// # Errors
///
/// As [`add`].
#[inline]
pub fn add_soon<P, const ID: u64>(task: &Task, item: P) -> Result<(), Refused<P>>
where
    P: TaskWorkPointer<ID>,
{
    add(task, item, Mode::Signal)
}

/// Gives `item` up for its node, and gives that to `queue`; or takes it back.
#[inline]
fn add_by<P, const ID: u64>(
    item: P,
    queue: impl FnOnce(NonNull<Node>) -> Result,
) -> Result<(), Refused<P>>
where
    P: TaskWorkPointer<ID>,
{
    let node = item.into_node().map_err(|item| Refused::new(item, EBUSY))?;
    // SAFETY: If it was not queued then it is still ours.
    queue(node).map_err(|error| Refused::new(unsafe { P::from_node(node) }, error))
}

/// Queues a node.
///
/// # Safety
///
/// The node must be [`BUSY`] and the caller's, as it comes from [`TaskWorkPointer::into_node`]; on
/// success it is given away.
#[inline]
unsafe fn add_node(task: &Task, node: NonNull<Node>, mode: Mode) -> Result {
    // SAFETY: The node is valid and ours, by the function's contract.
    let this = unsafe { node.as_ref() };
    this.added.set(jiffies() as u32);
    // SAFETY: The task is valid, the node is in no list, and it stays valid until it is run. It is
    // pinned while it is queued. If this succeeds it may have been run already, and is not touched
    // again.
    let ret = unsafe {
        bindings::tether_task_work_add(
            task.as_ptr(),
            node.as_ptr().cast(),
            mode.as_raw(),
            this.pins,
        )
    };
    if ret == 0 {
        return Ok(());
    }
    // SAFETY: The node was not queued.
    Err(unsafe { add_failed(node, ret) })
}

/// Why a node was not queued.
///
/// # Safety
///
/// The node must be the caller's, and `ret` come from `tether_task_work_add` for it.
#[cold]
#[inline(never)]
unsafe fn add_failed(node: NonNull<Node>, ret: c_int) -> Error {
    if ret == ESRCH.to_errno() {
        // SAFETY: The node is valid. It was pinned before this error, and that is left to us.
        unsafe { node.as_ref().owner.unpin() };
    }
    Error::from_errno(ret)
}

// What the kernel calls is in text that never goes away, and must never be copied into a consumer's,
// by inlining or as a generic: the owner may be gone when it returns.

/// Runs a box.
///
/// # Safety
///
/// `head` must be that of a [`Node`] which was queued, to the current task or to an [`Ordered`] that
/// runs in it; that of a box.
#[inline(never)]
unsafe extern "C" fn run_box(head: *mut bindings::callback_head) {
    // SAFETY: By the function's contract; the head is at the beginning.
    let node = unsafe { NonNull::new_unchecked(head.cast::<Node>()) };
    // SAFETY: A node that was linked is valid.
    let (run, pins) = unsafe { (node.as_ref().run, node.as_ref().pins) };
    // SAFETY: The node is ours to run: nobody can cancel it, and one that is disarmed gets another
    // function. This is a callback, and the owner's text is there because it is pinned.
    unsafe { run(node) };
    // The node and the item are the callee's, and may be gone.
    //
    // SAFETY: This is the pin of the node, and this text is permanent.
    unsafe { bindings::tether_unpin(pins) };
}

/// Runs what can be cancelled.
///
/// # Safety
///
/// As [`run_box`], but that of another.
#[inline(never)]
unsafe extern "C" fn run_work(head: *mut bindings::callback_head) {
    // SAFETY: By the function's contract; the head is at the beginning.
    let node = unsafe { NonNull::new_unchecked(head.cast::<Node>()) };
    // SAFETY: It is not linked any more.
    if unsafe { claim(node) } {
        // SAFETY: It is ours to run, and nothing in it has changed.
        unsafe { run_box(head) };
    }
}

/// Lets go of what was disarmed.
///
/// # Safety
///
/// As [`run_box`].
unsafe extern "C" fn run_disarmed(head: *mut bindings::callback_head) {
    // SAFETY: The head is at the beginning of a node, which is not linked any more.
    unsafe { pass_by(NonNull::new_unchecked(head.cast::<Node>())) };
}

/// Claims a node that others may have claimed, and returns whether it is to be run; else it is let go
/// of.
///
/// # Safety
///
/// The node must not be linked any more, and is the callee's unless it is to be run. We must be in
/// permanent text.
#[inline]
unsafe fn claim(node: NonNull<Node>) -> bool {
    // SAFETY: The node is valid until it is let go of.
    let this = unsafe { node.as_ref() };
    let run = this.state.cmpxchg(CANCELLABLE, RUNNING, Acquire).is_ok();
    if !run {
        // SAFETY: By the function's contract.
        unsafe { pass_by(node) };
    }
    run
}

/// Lets go of a node that was linked still, but is not to be run.
///
/// # Safety
///
/// As [`claim`].
#[cold]
#[inline(never)]
unsafe fn pass_by(node: NonNull<Node>) {
    // SAFETY: The node is valid until it is let go of.
    let this = unsafe { node.as_ref() };
    let owner = this.owner;
    loop {
        match this.state.load(Acquire) {
            CANCELLED => {
                if let Kind::Arc { release } = this.vtable.kind {
                    // SAFETY: The reference is the node's, of the one who has cancelled it; the
                    // owner's text is there, as it is pinned.
                    unsafe { release(node) };
                }
                // SAFETY: So is the pin.
                unsafe { owner.unpin() };
                return;
            }
            // SAFETY: It is that of a closure, and the reference of the list is ours.
            ORPHAN => return unsafe { ClosureHead::put(node.cast()) },
            DISARMED if this.state.cmpxchg(DISARMED, PASSED, Full).is_ok() => return,
            DISARMED => {}
            // SAFETY: What is there begins with what `discard` has returned, was allocated by
            // `kmalloc`, and nobody else frees it.
            FREEABLE => return unsafe { bindings::kfree(this.target.load(Relaxed).cast()) },
            _ => return,
        }
    }
}

/// What has become of an item that was to be cancelled.
#[derive(Debug, PartialEq, Eq)]
pub enum Cancel<T> {
    /// It will not run; here it is.
    Cancelled(T),
    /// Its target has begun to run it, or has done so.
    TooLate,
    /// It is not pending on that task: it was never added to it, or was cancelled before.
    NotQueued,
}

impl<T> Cancel<T> {
    /// The item, if it was cancelled.
    pub fn cancelled(self) -> Option<T> {
        match self {
            Cancel::Cancelled(item) => Some(item),
            Cancel::TooLate | Cancel::NotQueued => None,
        }
    }
}

/// Cancels an item that was added to `task`; that very item, by its identity.
///
/// If it was cancelled its callback is not called. The item stays alive, its module pinned, and it
/// cannot be added again, until the target comes by the place where it was linked. (Not so if a
/// kernel tree has this: there it is unlinked, unless the target is about to run it.)
///
/// May be called in any context but NMI.
///
/// C: `task_work_cancel()` in [`kernel/task_work.c`](srctree/kernel/task_work.c).
#[doc(alias = "task_work_cancel")]
pub fn cancel<T, const ID: u64>(task: &Task, item: &Arc<T>) -> Cancel<Arc<T>>
where
    T: TaskWorkItem<ID, Pointer = Arc<T>> + HasTaskWork<T, ID> + Send + Sync + 'static,
{
    // SAFETY: `item` keeps the object valid.
    let node = unsafe { node_of::<T, ID>(Arc::as_ptr(item).cast_mut()) };
    // SAFETY: As above.
    let this = unsafe { node.as_ref() };
    if !ptr::eq(this.target.load(Relaxed), task.as_ptr()) {
        return Cancel::NotQueued;
    }
    match this.state.cmpxchg(CANCELLABLE, CANCELLED, Full) {
        Ok(_) => {
            this.wake();
            if unlink(task, this) {
                let owner = this.owner;
                // It is as if it had not been added.
                write_once(&this.target, ptr::null_mut());
                // SAFETY: The node is not linked any more, and was not run: its reference is ours.
                unsafe { ArcWork::<T, ID>::release(node) };
                // SAFETY: So is its pin.
                unsafe { owner.unpin() };
            }
            Cancel::Cancelled(item.clone())
        }
        Err(CANCELLED) => Cancel::NotQueued,
        Err(_) => Cancel::TooLate,
    }
}

/// Waits until an item that is shared is neither pending nor running, or was cancelled.
///
/// Sleeps, interruptibly.
///
/// # Errors
///
/// * [`ERESTARTSYS`] if a signal came;
/// * [`EDEADLK`] if it is the current task that is to run the item, or is running it.
pub fn wait<T, const ID: u64>(item: &Arc<T>) -> Result
where
    T: HasTaskWork<T, ID>,
{
    // SAFETY: `item` keeps the object valid.
    unsafe { node_of::<T, ID>(Arc::as_ptr(item).cast_mut()).as_ref() }.wait(Jiffies::MAX)
}

/// Like [`wait`], but no longer than `time`, which is rounded up to whole ticks.
///
/// # Errors
///
/// As [`wait`], and [`ETIMEDOUT`].
pub fn wait_timeout<T, const ID: u64>(item: &Arc<T>, time: Delta) -> Result
where
    T: HasTaskWork<T, ID>,
{
    // SAFETY: `item` keeps the object valid.
    unsafe { node_of::<T, ID>(Arc::as_ptr(item).cast_mut()).as_ref() }.wait(as_jiffies(time))
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

/// Calls `seen` for each node that is pending on some task.
///
/// It is called in atomic context, with that task's `pi_lock` held.
fn for_each_pending(mut seen: impl FnMut(&Task, &Node)) {
    /// # Safety
    ///
    /// `data` must be an `F`; the others valid, the work that of a [`Node`].
    unsafe extern "C" fn call<F: FnMut(&Task, &Node)>(
        task: *mut bindings::task_struct,
        head: *mut bindings::callback_head,
        data: *mut c_void,
    ) {
        // SAFETY: `data` is what is passed below.
        let seen = unsafe { &mut *data.cast::<F>() };
        // SAFETY: The task and the work are valid while this runs, and the function of the work
        // says that it is at the beginning of a node. `Task` is transparent.
        seen(unsafe { &*task.cast::<Task>() }, unsafe {
            &*head.cast::<Node>()
        });
    }

    fn each<F: FnMut(&Task, &Node)>(seen: &mut F) {
        for function in [run_box, run_work] {
            // SAFETY: `call::<F>` is given the closure that it expects, which outlives the call.
            unsafe {
                bindings::tether_for_each_task_work(
                    Some(function),
                    Some(call::<F>),
                    ptr::from_mut(seen).cast(),
                )
            };
        }
    }
    each(&mut seen);
}

/// Disarms what is pending of a module that goes although it is pinned, and returns how much.
///
/// The items are dropped, but the nodes stay linked until their targets come by; so the memory that
/// they are in stays until then. An item that is shared is leaked: there may be references to it
/// that are dropped later, and would free it.
pub(crate) fn disarm(owner: &'static Owner) -> usize {
    let mut count = 0;
    // Linked by their targets, which nobody compares any more.
    let mut disarmed: *mut Node = ptr::null_mut();
    let mut claim = |node: &Node| {
        if !ptr::eq(node.owner, owner) || !node.is_pinned() {
            return;
        }
        // The module's constants are still there.
        let new = match node.vtable.kind {
            Kind::Box { .. } => DISARMED,
            Kind::Arc { .. } => LEAKED,
            // Its owner does not go.
            Kind::Queue => return,
            Kind::Closure { .. } => {
                // For what is done with it below.
                //
                // SAFETY: Closures have such a head, with a reference while the node is linked.
                unsafe { ClosureHead::get(node) };
                ORPHAN
            }
        };
        // Whoever has claimed it before, to run it or to cancel it, has what it needs; unless it
        // was cancelled, and waits for its target with the module pinned.
        let claimed = [PENDING, CANCELLABLE, CANCELLED]
            .iter()
            .any(|&old| node.state.cmpxchg(old, new, Full).is_ok());
        if claimed {
            count += 1;
            // The target looks at this only after it has passed through the lock that is held here.
            //
            // SAFETY: The node is valid, and linked.
            unsafe {
                let head = (&raw const node.head).cast_mut();
                (&raw mut (*head).func).write_volatile(Some(run_disarmed));
            }
            // SAFETY: The pin of the node is ours: nobody else will drop it.
            unsafe { owner.unpin_disarmed() };
            node.target.store(disarmed.cast(), Relaxed);
            disarmed = ptr::from_ref(node).cast_mut();
        } else if matches!(node.vtable.kind, Kind::Closure { .. }) {
            // SAFETY: The reference is that from above. It is not the last: the node is linked.
            unsafe { ClosureHead::put(NonNull::from(node).cast()) };
        }
    };
    for_each_pending(|_, node| claim(node));
    ordered::for_each_pending(|_, node| claim(node));

    // Not above, where a lock is held that waking takes.
    while let Some(node) = NonNull::new(disarmed) {
        // SAFETY: The node is valid: nobody frees its memory before this is through with it.
        let this = unsafe { node.as_ref() };
        disarmed = this.target.load(Relaxed).cast();
        this.wake();
        match this.vtable.kind {
            Kind::Box { discard } => {
                // SAFETY: The item is ours, and the module's text is still there.
                let memory = unsafe { discard(node) };
                this.target.store(memory.cast(), Relaxed);
                if this.state.cmpxchg(DISARMED, FREEABLE, Full).is_err() {
                    // SAFETY: The target came by before us, and left the box's memory to us.
                    unsafe { bindings::kfree(memory) };
                }
            }
            Kind::Closure { discard } => {
                // SAFETY: As above.
                unsafe { discard(node) };
                // SAFETY: The reference is that from above.
                unsafe { ClosureHead::put(node.cast()) };
            }
            Kind::Arc { .. } | Kind::Queue => {}
        }
    }
    count
}

/// Writes what is pending, for `tether/outstanding`.
pub(crate) fn show_outstanding(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut result = Ok(());
    let mut show = |task: &Task, node: &Node| {
        // Somebody may cancel it now, and let the module go: that waits for the guard. If it is
        // pinned after that was taken, then the record is that of its module.
        let Ok(_entered) = node.owner.enter() else {
            return;
        };
        if !node.is_pinned() {
            return;
        }
        if result.is_err() {
            return;
        }
        let age = (jiffies() as u32).wrapping_sub(node.added.get());
        result = f.write_fmt(fmt!(
            "{} task_work {} {} {}\n",
            node.owner.name(),
            task.pid(),
            // SAFETY: The function has no requirements.
            unsafe { bindings::jiffies64_to_msecs(age.into()) },
            (node.vtable.name)(),
        ));
    };
    for_each_pending(&mut show);
    ordered::for_each_pending(&mut show);
    result
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

    /// Drops a reference. The closure must have been taken out of it, or be taken by others.
    ///
    /// # Safety
    ///
    /// The reference must be the caller's.
    unsafe fn put(this: NonNull<Self>) {
        // SAFETY: The reference keeps it valid.
        if unsafe { this.as_ref() }.refs.fetch_sub(1u32, Full) == 1 {
            // SAFETY: It was allocated by `kmalloc`, and this was the last reference.
            unsafe { bindings::kfree(this.as_ptr().cast()) };
        }
    }
}

/// A boxed closure.
///
/// # Invariants
///
/// `func` is there until the state of the node is no longer [`CANCELLABLE`]; then it belongs to who
/// has made it so.
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

    /// Takes the closure out.
    ///
    /// # Safety
    ///
    /// It must be the caller's, who has changed the node's state for that.
    unsafe fn take(&self) -> F {
        // SAFETY: It is there, and ours, by the function's contract and the type's invariants.
        unsafe { (*self.func.get()).assume_init_read() }
    }

    /// # Safety
    ///
    /// The node must be that of a `Closure<F>`, and [`RUNNING`]; the list's reference is used.
    unsafe fn run(node: NonNull<Node>) {
        // SAFETY: By the function's contract; the node is at the beginning.
        let this = unsafe { node.cast::<Self>().as_ref() };
        // SAFETY: Who runs it has changed its state.
        let func = unsafe { this.take() };
        // SAFETY: This is a callback.
        func(unsafe { Context::new() });
        // SAFETY: The list's reference keeps it valid.
        unsafe { this.head.node.finish(DONE) };
        // SAFETY: The list's reference is ours.
        unsafe { ClosureHead::put(node.cast()) };
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
/// It runs whatever becomes of this: dropping this only gives up to cancel it or to wait for it.
pub struct Pending<F> {
    closure: NonNull<Closure<F>>,
}

// SAFETY: A shared reference gives nothing of the closure, and who has the `Pending` may take it out
// anywhere.
unsafe impl<F: Send> Send for Pending<F> {}
// SAFETY: As above.
unsafe impl<F: Send> Sync for Pending<F> {}

impl<F> Pending<F> {
    fn node(&self) -> &Node {
        // SAFETY: Our reference keeps it valid.
        unsafe { &self.closure.as_ref().head.node }
    }

    /// Whether it has run, and has returned.
    pub fn is_done(&self) -> bool {
        self.node().state.load(Acquire) & BUSY == 0
    }

    /// Waits until it has run.
    ///
    /// Sleeps, interruptibly.
    ///
    /// # Errors
    ///
    /// * [`ERESTARTSYS`] if a signal came;
    /// * [`EDEADLK`] if it is the current task that is to run it, or is running it.
    pub fn wait(&self) -> Result {
        self.node().wait(Jiffies::MAX)
    }

    /// Like [`Pending::wait`], but no longer than `time`, which is rounded up to whole ticks.
    ///
    /// # Errors
    ///
    /// As [`Pending::wait`], and [`ETIMEDOUT`].
    pub fn wait_timeout(&self, time: Delta) -> Result {
        self.node().wait(as_jiffies(time))
    }

    /// Takes the closure back, if it has not begun to run. Its module is not pinned any more.
    ///
    /// May be called in any context but NMI.
    #[doc(alias = "task_work_cancel")]
    pub fn cancel(self) -> Cancel<F>
    where
        F: FnOnce(&Context<'_>) + Send + 'static,
    {
        let node = self.node();
        if node.state.cmpxchg(CANCELLABLE, ORPHAN, Full).is_err() {
            return Cancel::TooLate;
        }
        node.wake();
        // SAFETY: We have just changed its state, so that it is ours.
        let func = unsafe { self.closure.as_ref().take() };
        // SAFETY: So is the pin.
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
/// # Errors
///
/// The closure comes back with [`ENOMEM`] if it could not be boxed, or as [`add`] says.
pub fn add_fn<F>(task: &Task, func: F, mode: Mode, flags: Flags) -> Result<Pending<F>, Refused<F>>
where
    F: FnOnce(&Context<'_>) + Send + 'static,
{
    add_fn_by(func, flags, |node| {
        // SAFETY: The node is valid and ours.
        write_once(&unsafe { node.as_ref() }.target, task.as_ptr());
        // SAFETY: It stays valid until it is run.
        unsafe { add_node(task, node, mode) }
    })
}

/// Boxes `func`, and gives its node to `queue`; or takes it back.
fn add_fn_by<F>(
    func: F,
    flags: Flags,
    queue: impl FnOnce(NonNull<Node>) -> Result,
) -> Result<Pending<F>, Refused<F>>
where
    F: FnOnce(&Context<'_>) + Send + 'static,
{
    let Ok(memory) = KBox::<Closure<F>>::new_uninit(flags) else {
        return Err(Refused::new(func, ENOMEM));
    };
    let closure = NonNull::from(KBox::leak(memory)).cast::<Closure<F>>();
    let raw = closure.as_ptr();
    // It is put together where it is: on the stack first it would be copied.
    //
    // SAFETY: The memory is ours, and valid for writes.
    unsafe {
        Node::init(
            &raw mut (*raw).head.node,
            &Closure::<F>::VTABLE,
            CANCELLABLE,
        )
    };
    // INVARIANT: One reference is the list's, one the `Pending`'s.
    //
    // SAFETY: As above.
    unsafe { (&raw mut (*raw).head.refs).write(Atomic::new(2)) };
    // SAFETY: As above.
    unsafe { (&raw mut (*raw).func).write(UnsafeCell::new(MaybeUninit::new(func))) };
    match queue(closure.cast()) {
        Ok(()) => Ok(Pending { closure }),
        Err(error) => {
            // SAFETY: It was just a box, and was given to nobody.
            let closure = unsafe { KBox::from_raw(closure.as_ptr()) };
            // SAFETY: The closure was not run, and nobody else can have it. What is dropped then
            // has no drop of its own.
            Err(Refused::new(unsafe { closure.take() }, error))
        }
    }
}
