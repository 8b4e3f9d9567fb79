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
    completion::{
        Completion,
        Limit, //
    },
    start::Start,
    waits::{
        self,
        Waits, //
    },
    with_mm,
    Builder,
    Plain, //
};
use crate::{
    alloc::Flags,
    bindings,
    container_of,
    mm::MmWithUser,
    prelude::*,
    static_lock_class,
    sync::{
        aref::ARef,
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
        jiffies,
        list_head,
        may_sleep,
        read_once,
        Attachment,
        Owner,
        Refused,
        What, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Jiffies,
        Monotonic, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    },
    workqueue, //
};
use core::{
    cell::Cell,
    marker::PhantomData,
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    }, //
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

/// An object that can be enqueued on a worker, by the [`KthreadWork`] field with this `ID`.
pub trait KthreadWorkItem<const ID: u64 = 0>: Sized {
    /// What owns the object while it is pending: `Pin<KBox<Self>>` or `Arc<Self>`.
    type Pointer: KthreadWorkPointer<ID>;

    /// Does the work, in the worker's thread. May sleep.
    fn run(this: Self::Pointer, context: &WorkContext<'_>);
}

/// The functions for the type of a node, in the text of its item's module.
#[doc(hidden)]
pub struct Vtable {
    /// Runs the item.
    run: unsafe extern "C" fn(*mut bindings::kthread_work),
    /// Drops the item of a node that was pending.
    release: unsafe fn(NonNull<Node>),
}

/// The part of a [`KthreadWork`] that does not depend on its type.
///
/// # Invariants
///
/// * While the node is bound, `vtable` and the function of `work` are those of the pointer by which
///   it was bound, in the text of the module of that queue, or in text that stays. While it is not
///   bound, they may be in text that is gone, and are not used.
/// * `bound` is null or the queue that `work` may be given to, to which a reference is held. It
///   changes under [`waits::lock`], or when no other task has the node.
/// * `delayed` tells whether this is the beginning of a [`DelayedNode`].
#[doc(hidden)]
#[repr(C)]
pub struct Node {
    bound: Atomic<*const Queue>,
    vtable: Cell<*const Vtable>,
    delayed: bool,
    // At the end: in its place a `DelayedNode` has one that begins with it.
    work: bindings::kthread_work,
}

/// A [`Node`] with a timer.
#[doc(hidden)]
#[repr(C)]
pub struct DelayedNode {
    bound: Atomic<*const Queue>,
    vtable: Cell<*const Vtable>,
    delayed: bool,
    work: bindings::kthread_delayed_work,
}

impl Node {
    /// The node that a work is in.
    ///
    /// # Safety
    ///
    /// It must be the `work` of a node.
    unsafe fn from_work(work: *mut bindings::kthread_work) -> NonNull<Self> {
        // SAFETY: By the function's contract.
        unsafe { NonNull::new_unchecked(container_of!(work, Self, work)) }
    }

    /// Drops what the node has of the queue that it is bound to.
    fn unbind(&self) {
        let bound = self.bound.load(Relaxed);
        if !bound.is_null() {
            // SAFETY: By the type's invariants there is a reference; who drops the node is alone
            // with it.
            drop(unsafe { Arc::from_raw(bound) });
        }
    }
}

/// Initialises the part of a node that is before the work.
///
/// # Safety
///
/// `slot` must be valid for writes of that part.
unsafe fn init_node(slot: *mut Node, delayed: bool) {
    // INVARIANT: The node is not bound.
    //
    // SAFETY: `slot` is valid for writes by the function's contract.
    unsafe {
        (&raw mut (*slot).bound).write(Atomic::new(ptr::null()));
        (&raw mut (*slot).vtable).write(Cell::new(ptr::null()));
        (&raw mut (*slot).delayed).write(delayed);
    }
}

/// The work of a node.
///
/// # Safety
///
/// `node` must be valid.
unsafe fn work_of(node: NonNull<Node>) -> *mut bindings::kthread_work {
    // SAFETY: By the function's contract.
    unsafe { &raw mut (*node.as_ptr()).work }
}

/// The delayed work of a node.
///
/// # Safety
///
/// `node` must be that of a valid [`DelayedNode`].
unsafe fn delayed_work_of(node: NonNull<Node>) -> *mut bindings::kthread_delayed_work {
    // SAFETY: By the function's contract.
    unsafe { &raw mut (*node.cast::<DelayedNode>().as_ptr()).work }
}

/// Links for a work: the field by which an object is enqueued.
///
/// C: `struct kthread_work`.
#[pin_data(PinnedDrop)]
pub struct KthreadWork<T: ?Sized, const ID: u64 = 0> {
    #[pin]
    node: Opaque<Node>,
    // Invariant: `T` has chosen the functions that are called with the item.
    _item: PhantomData<fn(*mut T) -> *mut T>,
}

// SAFETY: A node may be used from any thread, and there is no `T` in it.
unsafe impl<T: ?Sized, const ID: u64> Send for KthreadWork<T, ID> {}
// SAFETY: As above.
unsafe impl<T: ?Sized, const ID: u64> Sync for KthreadWork<T, ID> {}

impl<T: ?Sized, const ID: u64> KthreadWork<T, ID> {
    /// A work that is not pending.
    #[doc(alias = "kthread_init_work")]
    pub fn new() -> impl PinInit<Self>
    where
        T: KthreadWorkItem<ID>,
    {
        pin_init!(Self {
            node <- Opaque::ffi_init(|slot: *mut Node| {
                // SAFETY: `slot` is valid for writes.
                unsafe { init_node(slot, false) };
                // SAFETY: `slot` is valid for writes, and pinned. The function is set when the node
                // is bound, and not called before.
                unsafe { bindings::kthread_init_work(&raw mut (*slot).work, None) };
            }),
            _item: PhantomData,
        })
    }
}

#[pinned_drop]
impl<T: ?Sized, const ID: u64> PinnedDrop for KthreadWork<T, ID> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The node was initialised, and is ours alone.
        unsafe { &*self.node.get() }.unbind();
    }
}

/// Links for a work with a delay.
///
/// C: `struct kthread_delayed_work`.
#[pin_data(PinnedDrop)]
pub struct KthreadDelayedWork<T: ?Sized, const ID: u64 = 0> {
    #[pin]
    node: Opaque<DelayedNode>,
    // Invariant: `T` has chosen the functions that are called with the item.
    _item: PhantomData<fn(*mut T) -> *mut T>,
}

// SAFETY: A node may be used from any thread, and there is no `T` in it.
unsafe impl<T: ?Sized, const ID: u64> Send for KthreadDelayedWork<T, ID> {}
// SAFETY: As above.
unsafe impl<T: ?Sized, const ID: u64> Sync for KthreadDelayedWork<T, ID> {}

impl<T: ?Sized, const ID: u64> KthreadDelayedWork<T, ID> {
    /// A work that is not pending.
    #[doc(alias = "kthread_init_delayed_work")]
    pub fn new() -> impl PinInit<Self>
    where
        T: KthreadWorkItem<ID>,
    {
        pin_init!(Self {
            node <- Opaque::ffi_init(|slot: *mut DelayedNode| {
                // SAFETY: `slot` is valid for writes, and begins as a `Node` does.
                unsafe { init_node(slot.cast(), true) };
                // SAFETY: `slot` is valid for writes, and pinned. The function is set when the node
                // is bound, and not called before.
                unsafe { bindings::kthread_init_delayed_work(&raw mut (*slot).work, None) };
            }),
            _item: PhantomData,
        })
    }
}

#[pinned_drop]
impl<T: ?Sized, const ID: u64> PinnedDrop for KthreadDelayedWork<T, ID> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The node was initialised, begins as a `Node` does, and is ours alone.
        unsafe { &*self.node.get().cast::<Node>() }.unbind();
    }
}

mod private {
    //! Keeps others from saying that a type is a work.

    /// The field of an object of type `T`: a [`KthreadWork`](super::KthreadWork) or a
    /// [`KthreadDelayedWork`](super::KthreadDelayedWork).
    pub trait Field<T: ?Sized, const ID: u64> {}

    impl<T: ?Sized, const ID: u64> Field<T, ID> for super::KthreadWork<T, ID> {}
    impl<T: ?Sized, const ID: u64> Field<T, ID> for super::KthreadDelayedWork<T, ID> {}
}

/// Says which field of an object is its work.
///
/// Is implemented by [`impl_has_kthread_work!`] and [`impl_has_kthread_delayed_work!`].
///
/// # Safety
///
/// Both methods must use the same field.
pub unsafe trait HasKthreadWork<T, const ID: u64 = 0> {
    /// The type of the field: [`KthreadWork<T, ID>`] or [`KthreadDelayedWork<T, ID>`].
    ///
    /// Both begin with the same node, so that this is all that tells whether there is a timer.
    type Field: private::Field<T, ID>;

    /// Returns the field of an object.
    ///
    /// # Safety
    ///
    /// `this` must point at a valid object.
    unsafe fn raw_get_kthread_work(this: *mut Self) -> *mut Self::Field;

    /// Returns the object that a field is in.
    ///
    /// # Safety
    ///
    /// `work` must point at that field of a valid object.
    unsafe fn kthread_work_container_of(work: *mut Self::Field) -> *mut Self;
}

/// An object with a delayed work: its field is a [`KthreadDelayedWork`].
pub trait HasKthreadDelayedWork<T, const ID: u64 = 0>:
    HasKthreadWork<T, ID, Field = KthreadDelayedWork<T, ID>>
{
}

impl<X, T, const ID: u64> HasKthreadDelayedWork<T, ID> for X where
    X: HasKthreadWork<T, ID, Field = KthreadDelayedWork<T, ID>>
{
}

/// Says which field of a struct is its [`KthreadWork`].
#[macro_export]
macro_rules! impl_has_kthread_work {
    ($(impl$({$($generics:tt)*})?
       HasKthreadWork<$work_type:ty $(, $id:tt)?>
       for $self:ty
       { self.$field:ident }
    )*) => {$(
        $crate::impl_has_kthread_work!(
            @impl KthreadWork [$($($generics)*)?] [$work_type $(, $id)?] [$self] $field
        );
    )*};
    (@impl $kind:ident [$($generics:tt)*] [$work_type:ty $(, $id:tt)?] [$self:ty] $field:ident) => {
        // The generics are spliced into an `unsafe impl` below. Here they have to parse as
        // generics: no token that may follow the generics of a trait may follow those of an `impl`.
        const _: () = {
            #[allow(dead_code, private_bounds)]
            trait Parameters<$($generics)*> {}
        };

        // SAFETY: Both methods use the same field.
        unsafe impl<$($generics)*>
            $crate::kthread::worker::HasKthreadWork<$work_type $(, $id)?> for $self
        {
            type Field = $crate::kthread::worker::$kind<$work_type $(, $id)?>;

            #[inline]
            unsafe fn raw_get_kthread_work(this: *mut Self) -> *mut Self::Field {
                // SAFETY: The caller promises that the pointer is not dangling.
                unsafe { &raw mut (*this).$field }
            }

            #[inline]
            unsafe fn kthread_work_container_of(work: *mut Self::Field) -> *mut Self {
                // SAFETY: The caller promises that the pointer is at the field of that object.
                unsafe { $crate::container_of!(work, Self, $field) }
            }
        }
    };
}
pub use crate::impl_has_kthread_work;

/// Says which field of a struct is its [`KthreadDelayedWork`].
///
/// ```
/// use kernel::{
///     kthread::worker::{
///         impl_has_kthread_delayed_work,
///         KthreadDelayedWork,
///         KthreadWorkItem,
///         Queue,
///         WorkContext, //
///     },
///     prelude::*,
///     sync::Arc,
///     time::msecs_to_jiffies, //
/// };
///
/// #[pin_data]
/// struct Retry {
///     #[pin]
///     work: KthreadDelayedWork<Retry>,
/// }
///
/// impl_has_kthread_delayed_work! {
///     impl HasKthreadDelayedWork<Self> for Retry { self.work }
/// }
///
/// impl KthreadWorkItem for Retry {
///     type Pointer = Arc<Retry>;
///
///     fn run(this: Arc<Retry>, context: &WorkContext<'_>) {
///         // Again, in a second. If the worker is going the item is dropped.
///         let _ = context.queue().enqueue_delayed(this, msecs_to_jiffies(1000));
///     }
/// }
///
/// fn try_at_once(queue: &Queue, retry: Arc<Retry>) -> Result {
///     queue.modify_delayed(retry, 0)?;
///     Ok(())
/// }
/// ```
#[macro_export]
macro_rules! impl_has_kthread_delayed_work {
    ($(impl$({$($generics:tt)*})?
       HasKthreadDelayedWork<$work_type:ty $(, $id:tt)?>
       for $self:ty
       { self.$field:ident }
    )*) => {$(
        $crate::impl_has_kthread_work!(
            @impl KthreadDelayedWork [$($($generics)*)?] [$work_type $(, $id)?] [$self] $field
        );
    )*};
}
pub use crate::impl_has_kthread_delayed_work;

/// A pointer that can own an object while it is pending.
///
/// # Safety
///
/// * A node that `into_node` returns stays valid, and pinned, until `from_node` is called with it.
/// * `VTABLE` must take such a node back to the pointer that it comes from.
pub unsafe trait KthreadWorkPointer<const ID: u64>: Sized + Send + 'static {
    /// The functions for such a node.
    #[doc(hidden)]
    const VTABLE: &'static Vtable;

    /// Gives up the pointer for its node.
    #[doc(hidden)]
    fn into_node(self) -> NonNull<Node>;

    /// Takes back what `into_node` has given up.
    ///
    /// # Safety
    ///
    /// The node must have come from `into_node`, and is used once.
    #[doc(hidden)]
    unsafe fn from_node(node: NonNull<Node>) -> Self;
}

/// A pointer to an object with a [`KthreadDelayedWork`].
///
/// # Safety
///
/// Each node must be the beginning of a [`DelayedNode`].
pub unsafe trait KthreadDelayedWorkPointer<const ID: u64>: KthreadWorkPointer<ID> {}

/// The node of an object.
///
/// # Safety
///
/// `this` must point at a valid object.
unsafe fn node_of<T, const ID: u64>(this: *mut T) -> NonNull<Node>
where
    T: HasKthreadWork<T, ID>,
{
    // SAFETY: The object is valid by the function's contract.
    let work = unsafe { T::raw_get_kthread_work(this) };
    // SAFETY: It is a field of a valid object, so it is not null; the node is at its beginning.
    unsafe { NonNull::new_unchecked(work.cast::<Node>()) }
}

/// The object that a node is in.
///
/// # Safety
///
/// `node` must be that of a valid `T`, by its field `ID`.
unsafe fn item_of<T, const ID: u64>(node: NonNull<Node>) -> *mut T
where
    T: HasKthreadWork<T, ID>,
{
    // SAFETY: By the function's contract.
    unsafe { T::kthread_work_container_of(node.as_ptr().cast()) }
}

/// The functions for nodes of the pointer `P` to a `T`.
struct Callbacks<T, P, const ID: u64>(PhantomData<(T, P)>);

impl<T, P, const ID: u64> Callbacks<T, P, ID>
where
    T: KthreadWorkItem<ID, Pointer = P>,
    P: KthreadWorkPointer<ID>,
{
    const VTABLE: Vtable = Vtable {
        run: Self::run,
        release: Self::release,
    };

    /// # Safety
    ///
    /// `work` must be that of a node that was given up and enqueued, and this be called by the
    /// worker's thread.
    unsafe extern "C" fn run(work: *mut bindings::kthread_work) {
        // SAFETY: The queue of the worker that the work was given to is there while its thread is.
        // Read now: the node is the callee's.
        let queue = unsafe { Queue::from_worker((*work).worker) };
        // SAFETY: By the function's contract.
        let this = unsafe { P::from_node(Node::from_work(work)) };
        // INVARIANT: This is a callback.
        let context = WorkContext {
            queue,
            _not_send: NotThreadSafe,
        };
        if !queue.is_asked() {
            T::run(this, &context);
            if queue.is_asked() {
                queue.end_interrupt();
            }
            return;
        }
        queue.run_interrupted(|| T::run(this, &context));
    }

    /// # Safety
    ///
    /// The node must have been given up, and not be pending.
    unsafe fn release(node: NonNull<Node>) {
        // SAFETY: By the function's contract.
        drop(unsafe { P::from_node(node) });
    }
}

// SAFETY: The node is in the box, which is pinned, and owned by the node until that is taken back.
unsafe impl<T, const ID: u64> KthreadWorkPointer<ID> for Pin<KBox<T>>
where
    T: KthreadWorkItem<ID, Pointer = Self> + HasKthreadWork<T, ID> + Send + 'static,
{
    const VTABLE: &'static Vtable = &Callbacks::<T, Self, ID>::VTABLE;

    #[inline]
    fn into_node(self) -> NonNull<Node> {
        // SAFETY: The object is not moved: it stays pinned, behind a raw pointer.
        let this = KBox::into_raw(unsafe { Pin::into_inner_unchecked(self) });
        // SAFETY: `this` was just a box.
        unsafe { node_of::<T, ID>(this) }
    }

    #[inline]
    unsafe fn from_node(node: NonNull<Node>) -> Self {
        // SAFETY: It came from `into_node`.
        let this = unsafe { KBox::from_raw(item_of::<T, ID>(node)) };
        // SAFETY: It was pinned when it was given up.
        unsafe { Pin::new_unchecked(this) }
    }
}

// SAFETY: The field of a `HasKthreadDelayedWork` is a `KthreadDelayedWork`, which is a
// `DelayedNode`.
unsafe impl<T, const ID: u64> KthreadDelayedWorkPointer<ID> for Pin<KBox<T>> where
    T: KthreadWorkItem<ID, Pointer = Self> + HasKthreadDelayedWork<T, ID> + Send + 'static
{
}

// SAFETY: The node is in what the `Arc` holds, which is always pinned, and a reference is owned by
// the node until it is taken back.
unsafe impl<T, const ID: u64> KthreadWorkPointer<ID> for Arc<T>
where
    T: KthreadWorkItem<ID, Pointer = Self> + HasKthreadWork<T, ID> + Send + Sync + 'static,
{
    const VTABLE: &'static Vtable = &Callbacks::<T, Self, ID>::VTABLE;

    #[inline]
    fn into_node(self) -> NonNull<Node> {
        // SAFETY: The object is valid, as a reference is given up for it.
        unsafe { node_of::<T, ID>(Arc::into_raw(self).cast_mut()) }
    }

    #[inline]
    unsafe fn from_node(node: NonNull<Node>) -> Self {
        // SAFETY: It came from `into_node`.
        unsafe { Arc::from_raw(item_of::<T, ID>(node)) }
    }
}

// SAFETY: The field of a `HasKthreadDelayedWork` is a `KthreadDelayedWork`, which is a
// `DelayedNode`.
unsafe impl<T, const ID: u64> KthreadDelayedWorkPointer<ID> for Arc<T> where
    T: KthreadWorkItem<ID, Pointer = Self> + HasKthreadDelayedWork<T, ID> + Send + Sync + 'static
{
}

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
    attachment: Attachment,
    #[pin]
    worker: Opaque<bindings::kthread_worker>,
    #[pin]
    leftover: Opaque<bindings::list_head>,
    users: Atomic<i32>,
    task: Atomic<*mut bindings::task_struct>,
    start: Start,
    waits: Waits,
    ended: Atomic<bool>,
    /// The end of the module has found the worker.
    torn_down: Atomic<bool>,
    /// Its works are interrupted: it ends, or the module does.
    asked: Atomic<bool>,
    /// Ends the worker, if it was dropped by a work of its own.
    #[pin]
    reaper: workqueue::Work<Queue>,
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
const CLOSED: i32 = i32::MIN;

/// Keeps a queue from being closed.
struct User<'a>(&'a Queue);

impl Drop for User<'_> {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Release);
    }
}

impl Queue {
    const WHAT: &'static What = &What {
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
    unsafe fn from_worker<'a>(worker: *mut bindings::kthread_worker) -> &'a Self {
        let worker = Opaque::cast_from(worker).cast_mut();
        // SAFETY: By the function's contract.
        unsafe { &*container_of!(worker, Self, worker) }
    }

    /// The queue of an attachment.
    ///
    /// # Safety
    ///
    /// It must be that of a queue, which must be there for `'a`.
    unsafe fn from_attachment<'a>(attachment: *const Attachment) -> &'a Self {
        // SAFETY: By the function's contract.
        unsafe { &*container_of!(attachment.cast_mut(), Self, attachment) }
    }

    /// The node of the worker in the graph of waits.
    ///
    /// # Safety
    ///
    /// `this` must be valid.
    pub(super) unsafe fn waits_of(this: *const Self) -> *const Waits {
        // SAFETY: By the function's contract.
        unsafe { &raw const (*this).waits }
    }

    fn task(&self) -> &Task {
        // SAFETY: By the type's invariants it is valid: nobody else has a queue without one. `Task`
        // is transparent.
        unsafe { &*self.task.load(Relaxed).cast() }
    }

    /// Whether we are in one of its works.
    fn is_current(&self) -> bool {
        ptr::eq(Task::current_raw(), self.task.load(Relaxed))
    }

    /// Why a closed queue refuses.
    #[cold]
    fn closed_error(&self) -> Error {
        if self.torn_down.load(Relaxed) {
            ENODEV
        } else {
            ESHUTDOWN
        }
    }

    /// Keeps the queue from being closed, if it is not.
    fn enter(&self) -> Option<User<'_>> {
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
    fn has(&self, node: NonNull<Node>) -> bool {
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
        let _waiting = self.waits.wait_for(Limit::None)?;
        let _user = self.enter().ok_or_else(|| self.closed_error())?;
        // SAFETY: The worker is there, with its thread, as it is not closed.
        unsafe { bindings::kthread_flush_worker(self.worker.get()) };
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
        let waited = flush.done.wait(limit);
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
        if !matches!(limit, Limit::None) {
            let begun = jiffies();
            loop {
                limit.pause(begun)?;
                if let (pending, false) = begin(false) {
                    return Ok(pending);
                }
            }
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
        if !matches!(limit, Limit::None) {
            // SAFETY: The node is valid.
            if unsafe { node.as_ref() }.delayed {
                // SAFETY: The node is valid, its work is a delayed one, and it was given to no
                // other worker but this one, which is there.
                unsafe {
                    bindings::tether_kthread_end_delay(self.worker.get(), delayed_work_of(node))
                };
            }
            let begun = jiffies();
            while is_busy() {
                limit.pause(begun)?;
            }
            return Ok(());
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

    /// Stops the thread, and keeps what is pending for [`Queue::drop_leftover`]. Sleeps.
    ///
    /// The work that is running is interrupted: it is woken from interruptible sleeps. The log
    /// names the worker every ten seconds until that work returns.
    ///
    /// # Safety
    ///
    /// The caller must have taken the worker off its owner's list, and must not be one of its
    /// works.
    unsafe fn end(&self) {
        self.users.fetch_add(CLOSED, Full);
        self.asked.xchg(true, Full);
        let mut since = Instant::<Monotonic>::now();
        let mut seconds = 0u32;
        let mut wait = || {
            // Each time: the work may not have begun its sleep, or have begun another one.
            //
            // SAFETY: The worker is there, with its thread.
            unsafe { bindings::tether_kthread_interrupt_work(self.worker.get()) };
            fsleep(Delta::from_millis(1));
            if since.elapsed().as_millis() < 1000 {
                return;
            }
            since = Instant::now();
            self.attachment.owner().request_all_in_exit();
            seconds += 1;
            if seconds % 10 == 0 {
                pr_warn!("a work of worker {} does not return\n", self.task().pid());
            }
        };
        while self.users.load(Acquire) != CLOSED {
            wait();
        }
        // Pending works do not run any more. Dropping them calls destructors of the module, while
        // other tasks may wait until the worker has ended; so they are dropped later.
        //
        // `kthread_stop()` would wait for the work that is running, but in silence.
        //
        // SAFETY: The worker is valid and closed, with no users, and `leftover` is ours.
        while !unsafe {
            bindings::tether_kthread_take_pending(self.worker.get(), self.leftover.get())
        } {
            wait();
        }
        // SAFETY: The thread is a kernel thread, and is stopped once; it is not ours, by the
        // function's contract.
        unsafe { bindings::kthread_stop(self.task.load(Relaxed)) };
    }

    /// Drops what was pending when the worker ended, be it waiting for its delay or not.
    ///
    /// # Safety
    ///
    /// [`Queue::end`] must have returned, and this is called once. The text of the module must be
    /// there.
    unsafe fn drop_leftover(&self) {
        loop {
            // SAFETY: The worker is valid and closed, its thread has ended, and `leftover` is ours.
            let work = unsafe {
                bindings::tether_kthread_take_work(self.worker.get(), self.leftover.get())
            };
            if work.is_null() {
                break;
            }
            // SAFETY: The queue has no users, so that no task is in a flush: each work is that of a
            // node.
            let node = unsafe { Node::from_work(work) };
            // SAFETY: The node was pending, and was just taken out of its list.
            unsafe { ((*node.as_ref().vtable.get()).release)(node) };
        }
        // INVARIANT: There are no users, and nothing is left.
        self.ended.store(true, Release);
    }

    /// Ends the worker, if its owner's end does not.
    ///
    /// Must not be called by one of its works.
    fn end_attached(&self) {
        if let Some(_entered) = self.attachment.detach() {
            // SAFETY: It was just taken off the list, and by the function's contract we are not in
            // one of its works.
            unsafe { self.end() };
            // SAFETY: It has just ended, and `_entered` keeps the text of the module.
            unsafe { self.drop_leftover() };
            // SAFETY: The list's reference is ours now, and the caller has another.
            drop(unsafe { Arc::from_raw(self) });
        }
    }

    /// Asks the worker to end: its works are interrupted from here on. They are run, as an older
    /// thread may wait for one of them.
    ///
    /// # Safety
    ///
    /// As [`What::request`] says.
    unsafe fn request_end(attachment: *const Attachment) {
        // SAFETY: The attachment is that of a queue, which is valid for this call.
        let this = unsafe { Self::from_attachment(attachment) };
        this.asked.xchg(true, Full);
        // SAFETY: The worker is valid, and has its thread, as the queue was attached.
        unsafe { bindings::tether_kthread_interrupt_work(this.worker.get()) };
    }

    /// Whether the works of the queue are to be interrupted.
    #[inline]
    fn is_asked(&self) -> bool {
        read_once(&self.asked)
    }

    /// Runs a work with the thread interrupted, so that interruptible sleeps of the work end at once.
    #[cold]
    #[inline(never)]
    fn run_interrupted(&self, run: impl FnOnce()) {
        // SAFETY: The current task is valid, and a kernel thread.
        unsafe { bindings::tether_kthread_interrupt(Task::current_raw()) };
        run();
        self.end_interrupt();
    }

    /// Lets the thread sleep again, between two works.
    #[cold]
    fn end_interrupt(&self) {
        // SAFETY: The current task is a worker's thread.
        unsafe { bindings::tether_kthread_clear_interrupt() };
    }

    /// The owner's end has found the worker.
    ///
    /// # Safety
    ///
    /// As [`What::end`] says.
    unsafe fn end_leaked(attachment: *const Attachment) {
        // SAFETY: By the function's contract.
        let this = unsafe { Self::from_attachment(attachment) };
        // The owner's record may be that of another module later, so that it is noted here.
        this.torn_down.store(true, Relaxed);
        // SAFETY: The owner's end has taken it off the list.
        unsafe { this.end() };
    }

    /// The owner's end has published that the worker has ended.
    ///
    /// # Safety
    ///
    /// As [`What::discard`] says.
    unsafe fn discard_leaked(attachment: *const Attachment) {
        // SAFETY: By the function's contract.
        let this = unsafe { Self::from_attachment(attachment) };
        // SAFETY: `end_leaked` has returned, and the owner's end keeps the text of the module.
        unsafe { this.drop_leftover() };
    }

    /// # Safety
    ///
    /// As [`What::release`] says.
    unsafe fn release(attachment: *const Attachment) {
        // SAFETY: By the function's contract the list had a reference.
        drop(unsafe { Arc::from_raw(Self::from_attachment(attachment)) });
    }
}

#[pinned_drop]
impl PinnedDrop for Queue {
    fn drop(self: Pin<&mut Self>) {
        let task = self.task.load(Relaxed);
        if !task.is_null() {
            // SAFETY: The reference is ours, by the type's invariants.
            unsafe { bindings::put_task_struct(task) };
        }
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

/// The function of a worker's thread. It is in text that never goes away.
///
/// # Safety
///
/// Called once for a thread, in it, with its [`Queue`], which stays valid until the thread has
/// ended.
#[inline(never)]
pub(super) unsafe extern "C" fn main(data: *mut c_void) -> c_int {
    // SAFETY: By the function's contract.
    let queue = unsafe { &*data.cast::<Queue>() };
    // SAFETY: This is called once, by the thread that the state belongs to. The queue is valid.
    if !unsafe { queue.start.wait() } {
        return EINTR.to_errno();
    }
    // SAFETY: The worker is initialised, and this is its thread.
    unsafe { bindings::kthread_worker_fn(queue.worker.get().cast()) }
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
