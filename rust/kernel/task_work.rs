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
//!   field, by which it is linked. Nothing is allocated when it is queued.
//! * To *add* an item is to give it to a task. It is *pending* until the task takes it, and then
//!   *running* until its callback has returned.
//! * The *target* is the task that it is added to.
//! * The *mode* says how the target is told: see [`Mode`].
//!
//! ```text
//!             add                    the target takes it             run returns
//!   idle ------------------> pending -------------------> running ---------------> idle
//!    ^                          |
//!    +--- refused: item back    +-- the target exits: it runs then, in the dying task
//! ```
//!
//! # What holds
//!
//! * An item that was added runs exactly once, in the target's context. If it cannot be added,
//!   because the target has exited or is a kernel thread, it comes back in the error.
//! * While it is pending it pins the module that has its callback: `rmmod` fails with `EAGAIN`. A
//!   target that never returns to user space, because it is stopped or blocked, may so keep a
//!   module loaded for as long as its user likes; `tether/outstanding` in debugfs names it.
//! * There is no order among items: the kernel's list is last in, first out. Between adding and
//!   running the target may have executed another program, changed its credentials, or begun to
//!   exit; [`Context`] says what there is when it runs.
//! * Items also run in the middle of a system call, not only at its end: before a task stops for
//!   its tracer, in signal delivery, while it waits in io_uring. A task that waits for an item of
//!   its own waits for ever.
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
//!         Mode,
//!     }, //
//! };
//!
//! fn greet(task: &Task) -> Result {
//!     let greeter = ARef::<Task>::from(&**current!());
//!     task_work::add_fn(
//!         task,
//!         move |context| {
//!             pr_info!("{} greets {}\n", greeter.pid(), context.task().pid());
//!         },
//!         Mode::Signal,
//!         GFP_KERNEL,
//!     )?;
//!     Ok(())
//! }
//! # assert_eq!(greet(current!()), Err(EINVAL));
//! ```
//!
//! C header: [`include/linux/task_work.h`](srctree/include/linux/task_work.h)

use crate::{
    alloc::Flags,
    bindings,
    container_of,
    current,
    error::to_result,
    fmt,
    mm::MmWithUser,
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
    task::{
        CurrentTask,
        Task, //
    },
    tether::{
        Owner,
        Refused, //
    },
    time::Jiffies,
    types::Opaque, //
};
use core::{
    any::type_name,
    cell::Cell,
    ffi::c_void,
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    }, //
};

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
pub struct Context<'a> {
    task: &'a CurrentTask,
}

impl<'a> Context<'a> {
    /// The task that this runs in.
    pub fn task(&self) -> &'a CurrentTask {
        self.task
    }

    /// Whether the task is exiting (`PF_EXITING`).
    ///
    /// Its address space, open files, root and working directory and its namespaces are gone then
    /// (`do_exit()` in [`kernel/exit.c`](srctree/kernel/exit.c)); its credentials and its pid are
    /// still there.
    pub fn is_exiting(&self) -> bool {
        task_flags(self.task) & bindings::PF_EXITING != 0
    }

    /// The task's address space, if it still has one.
    ///
    /// It may be another one than when the item was added: the task may have executed a new
    /// program since.
    pub fn mm(&self) -> Option<&'a MmWithUser> {
        self.task.mm()
    }
}

fn jiffies() -> Jiffies {
    // SAFETY: The kernel's count of ticks may be read at any time.
    unsafe { ptr::read_volatile(&raw const bindings::jiffies) }
}

fn task_flags(task: &Task) -> u32 {
    // SAFETY: `task` is a valid task.
    unsafe { bindings::tether_task_flags(task.as_ptr()) }
}

/// An object that can be added to a task, by the [`TaskWork`] field with this `ID`.
pub trait TaskWorkItem<const ID: u64 = 0>: Sized {
    /// What owns the object while it is pending: `Pin<KBox<Self>>` or `Arc<Self>`.
    type Pointer: TaskWorkPointer<ID>;

    /// Does the work, in the context of the task that it was added to. May sleep.
    ///
    /// Adding an `Arc` again from inside its own callback is refused with [`EBUSY`]: the task
    /// would never get out of the kernel.
    fn run(this: Self::Pointer, context: &Context<'_>);
}

/// The part of a [`TaskWork`] that does not depend on its type.
///
/// # Invariants
///
/// While `state` is not [`IDLE`], everything else belongs to who has made it so, and from the
/// moment the node was queued to [`run_work`].
#[doc(hidden)]
#[repr(C)]
pub struct Node {
    head: bindings::callback_head,
    /// Calls the owner: this is a function in its text.
    run: unsafe fn(NonNull<Node>, &Context<'_>),
    owner: Option<&'static Owner>,
    state: Atomic<u32>,
    /// When it was added, and what it is: for `tether/outstanding`.
    added: Cell<Jiffies>,
    name: &'static str,
}

/// Nobody has queued it.
const IDLE: u32 = 0;
/// Queued, or running.
const PENDING: u32 = 1;
/// Its owner is gone: what is queued is only memory.
const DISARMED: u32 = 2;

/// The field by which an object is linked into a task's works.
///
/// Several fields of one struct are told apart by their `ID`.
///
/// # Invariants
///
/// `node` is initialised, and its `run` takes the node back to the pointer that it came from.
#[pin_data]
#[repr(transparent)]
pub struct TaskWork<T: ?Sized, const ID: u64 = 0> {
    #[pin]
    node: Opaque<Node>,
    _item: PhantomData<T>,
}

// SAFETY: What is in the node is only touched by who has queued it, or by the task that runs it.
unsafe impl<T: ?Sized, const ID: u64> Send for TaskWork<T, ID> {}
// SAFETY: As above; `state` is atomic.
unsafe impl<T: ?Sized, const ID: u64> Sync for TaskWork<T, ID> {}

impl<T: TaskWorkItem<ID>, const ID: u64> TaskWork<T, ID> {
    /// Creates the field.
    #[doc(alias = "init_task_work")]
    pub fn new() -> impl PinInit<Self> {
        let run = <T::Pointer as TaskWorkPointer<ID>>::run_node;
        let node = Node {
            head: bindings::callback_head {
                next: ptr::null_mut(),
                func: Some(run_work),
            },
            run,
            owner: Owner::of(run as *const ()).ok(),
            state: Atomic::new(IDLE),
            added: Cell::new(0),
            name: type_name::<T>(),
        };
        // INVARIANT: `run` is that of the pointer that the item is added by.
        pin_init!(Self {
            node: Opaque::new(node),
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
/// * A node that `into_node` returns stays valid, and pinned, until `run_node` is called with it or
///   `from_node`.
/// * `into_node` must not return a node that is not [`IDLE`], and makes it [`PENDING`].
pub unsafe trait TaskWorkPointer<const ID: u64>: Sized + Send + 'static {
    /// Gives up the pointer for its node, unless that is pending.
    #[doc(hidden)]
    fn into_node(self) -> Result<NonNull<Node>, Self>;

    /// Takes back what `into_node` has given up, of a node that was not queued.
    ///
    /// # Safety
    ///
    /// The node must have come from `into_node`, and is used once.
    #[doc(hidden)]
    unsafe fn from_node(node: NonNull<Node>) -> Self;

    /// Calls the item's `run` with what `into_node` has given up.
    ///
    /// # Safety
    ///
    /// As for `from_node`; and `context` must be that of the current task.
    #[doc(hidden)]
    unsafe fn run_node(node: NonNull<Node>, context: &Context<'_>);
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

// SAFETY: The node is in the box, which is pinned and owned by the node until it is taken back. A
// box has one owner, so that its node is idle: `from_node` and `run_node` make it so.
unsafe impl<T, const ID: u64> TaskWorkPointer<ID> for Pin<KBox<T>>
where
    T: TaskWorkItem<ID, Pointer = Self> + HasTaskWork<T, ID> + Send + 'static,
{
    #[inline]
    fn into_node(self) -> Result<NonNull<Node>, Self> {
        // SAFETY: The object is not moved: it stays pinned, behind a raw pointer.
        let this = KBox::into_raw(unsafe { Pin::into_inner_unchecked(self) });
        // SAFETY: `this` was just a box.
        let node = unsafe { node_of::<T, ID>(this) };
        // SAFETY: The node is valid, and nobody else can reach it: the box was ours.
        unsafe { node.as_ref() }.state.store(PENDING, Relaxed);
        Ok(node)
    }

    #[inline]
    unsafe fn from_node(node: NonNull<Node>) -> Self {
        // SAFETY: The node is valid by the function's contract.
        unsafe { node.as_ref() }.state.store(IDLE, Relaxed);
        // SAFETY: It came from `into_node`, which gave up a pinned box of `T`.
        unsafe { Pin::new_unchecked(KBox::from_raw(item_of::<T, ID>(node))) }
    }

    unsafe fn run_node(node: NonNull<Node>, context: &Context<'_>) {
        // SAFETY: By the function's contract.
        T::run(unsafe { Self::from_node(node) }, context);
    }
}

// SAFETY: The node is in what the `Arc` holds, which is always pinned, and a reference is owned by
// the node until it is taken back. Only who has made the node pending, of all who share it, gets it.
unsafe impl<T, const ID: u64> TaskWorkPointer<ID> for Arc<T>
where
    T: TaskWorkItem<ID, Pointer = Self> + HasTaskWork<T, ID> + Send + Sync + 'static,
{
    #[inline]
    fn into_node(self) -> Result<NonNull<Node>, Self> {
        // SAFETY: `self` keeps the object valid.
        let node = unsafe { node_of::<T, ID>(Arc::as_ptr(&self).cast_mut()) };
        // SAFETY: As above.
        let state = &unsafe { node.as_ref() }.state;
        // Acquire pairs with the release of who ran it last.
        if state.cmpxchg(IDLE, PENDING, Acquire).is_err() {
            return Err(self);
        }
        let _ = Arc::into_raw(self);
        Ok(node)
    }

    #[inline]
    unsafe fn from_node(node: NonNull<Node>) -> Self {
        // SAFETY: It came from `into_node`, which gave up a reference.
        let this = unsafe { Arc::from_raw(item_of::<T, ID>(node)) };
        // SAFETY: `this` keeps the object valid.
        unsafe { node.as_ref() }.state.store(IDLE, Release);
        this
    }

    unsafe fn run_node(node: NonNull<Node>, context: &Context<'_>) {
        // SAFETY: It came from `into_node`, which gave up a reference.
        let this = unsafe { Arc::from_raw(item_of::<T, ID>(node)) };
        // Of our own, because the callback may let go of its: the node is pending until it has
        // returned, so that it cannot be added again from inside.
        let held = this.clone();
        T::run(this, context);
        // SAFETY: `held` keeps the object valid.
        unsafe { node.as_ref() }.state.store(IDLE, Release);
        drop(held);
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
/// * [`EINVAL`] if the task is a kernel thread, which would run it only when it ends, or if the
///   item's callback is in no module that Tether knows of;
/// * [`EBUSY`] if the item is shared, and is pending or running;
/// * [`ENODEV`] if the module of its callback is going.
///
/// C: `task_work_add()` in [`kernel/task_work.c`](srctree/kernel/task_work.c).
#[doc(alias = "task_work_add")]
#[inline]
pub fn add<P, const ID: u64>(task: &Task, item: P, mode: Mode) -> Result<(), Refused<P>>
where
    P: TaskWorkPointer<ID>,
{
    let node = item.into_node().map_err(|item| Refused::new(item, EBUSY))?;
    // SAFETY: `into_node` has given us a node that was idle, and that stays valid until it is run.
    unsafe { add_node(task, node, mode) }.map_err(|error| {
        // SAFETY: The node came from `into_node` above, and was not queued.
        Refused::new(unsafe { P::from_node(node) }, error)
    })
}

/// Queues a node.
///
/// # Safety
///
/// The node must come from [`TaskWorkPointer::into_node`]; on success it is given away.
#[inline(never)]
unsafe fn add_node(task: &Task, node: NonNull<Node>, mode: Mode) -> Result {
    if task_flags(task) & bindings::PF_KTHREAD != 0 {
        return Err(EINVAL);
    }
    // SAFETY: The node is valid and ours, by the function's contract.
    let (owner, head) = unsafe {
        node.as_ref().added.set(jiffies());
        (
            node.as_ref().owner.ok_or(EINVAL)?,
            &raw mut (*node.as_ptr()).head,
        )
    };
    owner.pin()?;
    // SAFETY: The task is valid, the node is in no list, and it stays valid until it is run. If
    // this succeeds it may have been run already, and is not touched again.
    to_result(unsafe { bindings::task_work_add(task.as_ptr(), head, mode.as_raw()) }).inspect_err(
        |_| {
            // SAFETY: The pin is ours, and we are not in the owner's text.
            unsafe { owner.unpin() };
        },
    )
}

/// What the kernel calls. It is in text that never goes away, and must never be copied into a
/// consumer's, by inlining or as a generic: the owner may be gone when it returns.
///
/// # Safety
///
/// `head` must be that of a [`Node`] which `add_node` has queued to the current task.
#[inline(never)]
unsafe extern "C" fn run_work(head: *mut bindings::callback_head) {
    // SAFETY: The kernel calls this with what `add_node` has given it: the `head` of a node.
    let node = unsafe { NonNull::new_unchecked(container_of!(head, Node, head)) };
    let (run, owner, state) = {
        // SAFETY: The node is valid until it is run, or leaked if it was disarmed.
        let node = unsafe { node.as_ref() };
        (node.run, node.owner, node.state.load(Relaxed))
    };
    if state == DISARMED {
        return;
    }
    let task = current!();
    // SAFETY: The node came from `into_node` of the pointer that `run` belongs to, the context is
    // that of the current task, and the owner's text is there because it is pinned.
    unsafe { run(node, &Context { task }) };
    // The node and the item are the callee's, and may be gone.
    if let Some(owner) = owner {
        // SAFETY: This is the pin of `add_node`.
        unsafe { owner.unpin() };
    }
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
        // says that it is in a node. `Task` is transparent.
        seen(unsafe { &*task.cast::<Task>() }, unsafe {
            &*container_of!(head, Node, head)
        });
    }

    fn each<F: FnMut(&Task, &Node)>(seen: &mut F) {
        // SAFETY: `call::<F>` is given the closure that it expects, which outlives the call.
        unsafe {
            bindings::tether_for_each_task_work(
                Some(run_work),
                Some(call::<F>),
                ptr::from_mut(seen).cast(),
            )
        };
    }
    each(&mut seen);
}

/// Disarms the works of a module that goes although they are pending, and returns how many.
///
/// Their items are leaked: what would drop them is in the module's text, and what they are linked
/// by is in their memory.
pub(crate) fn disarm(owner: &'static Owner) -> usize {
    let mut count = 0;
    for_each_pending(|_, node| {
        if node.state.load(Relaxed) != PENDING || !node.owner.is_some_and(|it| ptr::eq(it, owner)) {
            return;
        }
        // The target passes through the lock that is held here before it runs the node, so it
        // sees this.
        node.state.store(DISARMED, Relaxed);
        // SAFETY: The pin of `add_node` is now ours: nobody else will drop it.
        unsafe { owner.unpin_disarmed() };
        count += 1;
    });
    count
}

/// Writes what is pending, for `tether/outstanding`.
pub(crate) fn show_outstanding(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut result = Ok(());
    for_each_pending(|task, node| {
        let (Some(owner), PENDING) = (node.owner, node.state.load(Relaxed)) else {
            return;
        };
        if result.is_err() {
            return;
        }
        // The work is pending, and pins its module: the names are there.
        result = f.write_fmt(fmt!(
            "{} task_work {} {} {}\n",
            owner.name(),
            task.pid(),
            // SAFETY: The function has no requirements.
            unsafe {
                bindings::jiffies64_to_msecs(jiffies().wrapping_sub(node.added.get()) as u64)
            },
            node.name,
        ));
    });
    result
}

/// A closure as a task work.
#[pin_data]
struct ClosureWork<F> {
    #[pin]
    work: TaskWork<ClosureWork<F>>,
    func: Option<F>,
}

impl_has_task_work! {
    impl{F} HasTaskWork<Self> for ClosureWork<F> { self.work }
}

impl<F> TaskWorkItem for ClosureWork<F>
where
    F: FnOnce(&Context<'_>) + Send + 'static,
{
    type Pointer = Pin<KBox<Self>>;

    fn run(mut this: Pin<KBox<Self>>, context: &Context<'_>) {
        if let Some(func) = this.as_mut().project().func.take() {
            func(context);
        }
    }
}

/// Adds a closure to `task`, which will call it. It is boxed: one allocation.
///
/// # Errors
///
/// The closure comes back with [`ENOMEM`] if it could not be boxed, or as [`add`] says.
pub fn add_fn<F>(task: &Task, func: F, mode: Mode, flags: Flags) -> Result<(), Refused<F>>
where
    F: FnOnce(&Context<'_>) + Send + 'static,
{
    let Ok(memory) = KBox::<ClosureWork<F>>::new_uninit(flags) else {
        return Err(Refused::new(func, ENOMEM));
    };
    let work = match memory.write_pin_init(pin_init!(ClosureWork {
        work <- TaskWork::new(),
        func: Some(func),
    })) {
        Ok(work) => work,
        Err(never) => match never {},
    };
    add(task, work, mode).map_err(|refused| {
        refused.map(|mut work| match work.as_mut().project().func.take() {
            Some(func) => func,
            // It was put there above, and only `run` takes it.
            None => unreachable!(),
        })
    })
}
