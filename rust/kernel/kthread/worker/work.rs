// SPDX-License-Identifier: GPL-2.0

//! [`KthreadWork`] and [`KthreadDelayedWork`]: the fields by which an object is linked into the
//! list of a worker, and the [`Node`] in them.

use super::{
    KthreadWorkPointer,
    Queue,
    WorkContext, //
};
use crate::{
    bindings,
    container_of,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    types::Opaque, //
};
use core::{
    cell::Cell,
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    }, //
};

/// An object that can be enqueued on a worker, by the [`KthreadWork`] field with this `ID`.
pub trait KthreadWorkItem<const ID: u64 = 0>: Sized {
    /// The pointer that owns the object while it is pending: `Pin<KBox<Self>>` or `Arc<Self>`.
    type Pointer: KthreadWorkPointer<ID>;

    /// Runs the work, in the worker's thread. May sleep.
    fn run(this: Self::Pointer, context: &WorkContext<'_>);
}

/// The functions for the type of a node, in the text of its item's module.
#[doc(hidden)]
pub struct Vtable {
    /// Runs the item.
    pub(super) run: unsafe extern "C" fn(*mut bindings::kthread_work),
    /// Drops the item of a node that was pending.
    pub(super) release: unsafe fn(NonNull<Node>),
}

/// The part of a [`KthreadWork`] that does not depend on its type.
///
/// # Invariants
///
/// * While the node is bound, `vtable` and the function of `work` belong to the pointer by which it
///   was bound, in the text of the module of that queue or in permanent text. While the node is not
///   bound, they may be in text that was unmapped, and are not used.
/// * `bound` is null or the queue that `work` may be queued to, and the node holds a reference to
///   this queue. It changes under [`waits::lock`], or when no other task has the node.
/// * `delayed` is true if this is the beginning of a [`DelayedNode`].
#[doc(hidden)]
#[repr(C)]
pub struct Node {
    pub(super) bound: Atomic<*const Queue>,
    pub(super) vtable: Cell<*const Vtable>,
    pub(super) delayed: bool,
    // At the end: a `DelayedNode` has a delayed work here, which begins with a work.
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
    /// Returns the node that contains a work.
    ///
    /// # Safety
    ///
    /// `work` must be the `work` of a node.
    pub(super) unsafe fn from_work(work: *mut bindings::kthread_work) -> NonNull<Self> {
        // SAFETY: By the function's contract `work` is a field of a node, so that both are in the
        // same allocation and the result is not null.
        unsafe { NonNull::new_unchecked(container_of!(work, Self, work)) }
    }

    /// Drops the reference to the queue that the node is bound to.
    fn unbind(&self) {
        let bound = self.bound.load(Relaxed);
        if !bound.is_null() {
            // SAFETY: `from_raw()` requires a reference that is ours. By the type's invariants the
            // node holds one, and only the destructor of the node calls this function.
            drop(unsafe { Arc::from_raw(bound) });
        }
    }
}

/// Initialises the fields of a node before `work`.
///
/// # Safety
///
/// `slot` must be valid for writes of these fields.
unsafe fn init_node(slot: *mut Node, delayed: bool) {
    // INVARIANT: The node is not bound.
    //
    // SAFETY: By the function's contract `slot` is valid for writes of these fields.
    unsafe {
        (&raw mut (*slot).bound).write(Atomic::new(ptr::null()));
        (&raw mut (*slot).vtable).write(Cell::new(ptr::null()));
        (&raw mut (*slot).delayed).write(delayed);
    }
}

/// Returns the work of a node.
///
/// # Safety
///
/// `node` must be valid.
pub(super) unsafe fn work_of(node: NonNull<Node>) -> *mut bindings::kthread_work {
    // SAFETY: By the function's contract `node` is valid, so that its field is in the same
    // allocation.
    unsafe { &raw mut (*node.as_ptr()).work }
}

/// Returns the delayed work of a node.
///
/// # Safety
///
/// `node` must be that of a valid [`DelayedNode`].
pub(super) unsafe fn delayed_work_of(node: NonNull<Node>) -> *mut bindings::kthread_delayed_work {
    // SAFETY: By the function's contract `node` is that of a valid `DelayedNode`, so that its field
    // is in the same allocation.
    unsafe { &raw mut (*node.cast::<DelayedNode>().as_ptr()).work }
}

/// The field by which an object is enqueued on a worker.
///
/// C: `struct kthread_work`.
#[pin_data(PinnedDrop)]
pub struct KthreadWork<T: ?Sized, const ID: u64 = 0> {
    #[pin]
    node: Opaque<Node>,
    // Invariant in `T`: `T` selects the functions that are called with the item.
    _item: PhantomData<fn(*mut T) -> *mut T>,
}

// SAFETY: A node may be used and freed by any thread, and contains no `T`.
unsafe impl<T: ?Sized, const ID: u64> Send for KthreadWork<T, ID> {}
// SAFETY: A shared reference gives no access to the node, which contains no `T`.
unsafe impl<T: ?Sized, const ID: u64> Sync for KthreadWork<T, ID> {}

impl<T: ?Sized, const ID: u64> KthreadWork<T, ID> {
    /// Creates a work that is not pending.
    #[doc(alias = "kthread_init_work")]
    pub fn new() -> impl PinInit<Self>
    where
        T: KthreadWorkItem<ID>,
    {
        pin_init!(Self {
            node <- Opaque::ffi_init(|slot: *mut Node| {
                // SAFETY: `init_node()` requires a slot that is valid for writes, which `slot` is.
                unsafe { init_node(slot, false) };
                // SAFETY: `kthread_init_work()` requires memory for a work that does not move.
                // `slot` is valid for writes and pinned. The function of the work is set by
                // `bind()`, before the work is queued.
                unsafe { bindings::kthread_init_work(&raw mut (*slot).work, None) };
            }),
            _item: PhantomData,
        })
    }
}

#[pinned_drop]
impl<T: ?Sized, const ID: u64> PinnedDrop for KthreadWork<T, ID> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The node was initialised, and the destructor has exclusive access to it.
        unsafe { &*self.node.get() }.unbind();
    }
}

/// The field by which an object is enqueued on a worker, possibly with a delay.
///
/// C: `struct kthread_delayed_work`.
#[pin_data(PinnedDrop)]
pub struct KthreadDelayedWork<T: ?Sized, const ID: u64 = 0> {
    #[pin]
    node: Opaque<DelayedNode>,
    // Invariant in `T`: `T` selects the functions that are called with the item.
    _item: PhantomData<fn(*mut T) -> *mut T>,
}

// SAFETY: A node may be used and freed by any thread, and contains no `T`.
unsafe impl<T: ?Sized, const ID: u64> Send for KthreadDelayedWork<T, ID> {}
// SAFETY: A shared reference gives no access to the node, which contains no `T`.
unsafe impl<T: ?Sized, const ID: u64> Sync for KthreadDelayedWork<T, ID> {}

impl<T: ?Sized, const ID: u64> KthreadDelayedWork<T, ID> {
    /// Creates a delayed work that is not pending.
    #[doc(alias = "kthread_init_delayed_work")]
    pub fn new() -> impl PinInit<Self>
    where
        T: KthreadWorkItem<ID>,
    {
        pin_init!(Self {
            node <- Opaque::ffi_init(|slot: *mut DelayedNode| {
                // SAFETY: `init_node()` requires a slot that is valid for writes of the fields
                // before `work`. `slot` is valid for writes, and a `DelayedNode` begins with the
                // same fields as a `Node`.
                unsafe { init_node(slot.cast(), true) };
                // SAFETY: `kthread_init_delayed_work()` requires memory for a work that does not
                // move. `slot` is valid for writes and pinned. The function of the work is set by
                // `bind()`, before the work is queued.
                unsafe { bindings::kthread_init_delayed_work(&raw mut (*slot).work, None) };
            }),
            _item: PhantomData,
        })
    }
}

#[pinned_drop]
impl<T: ?Sized, const ID: u64> PinnedDrop for KthreadDelayedWork<T, ID> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The node was initialised, begins with the fields of a `Node`, and the destructor
        // has exclusive access to it.
        unsafe { &*self.node.get().cast::<Node>() }.unbind();
    }
}

mod private {
    //! Prevents other crates from implementing `Field`.

    /// The field of an object of type `T`: a [`KthreadWork`](super::KthreadWork) or a
    /// [`KthreadDelayedWork`](super::KthreadDelayedWork).
    // The trait is a bound of a public one; rustc 1.85 ignores this use.
    #[allow(unreachable_pub)]
    pub trait Field<T: ?Sized, const ID: u64> {}

    impl<T: ?Sized, const ID: u64> Field<T, ID> for super::KthreadWork<T, ID> {}
    impl<T: ?Sized, const ID: u64> Field<T, ID> for super::KthreadDelayedWork<T, ID> {}
}

/// Implemented by types that have a work field; use [`impl_has_kthread_work!`] or
/// [`impl_has_kthread_delayed_work!`].
///
/// # Safety
///
/// Both methods must use the same field of the object.
pub unsafe trait HasKthreadWork<T, const ID: u64 = 0> {
    /// The type of the field: [`KthreadWork<T, ID>`] or [`KthreadDelayedWork<T, ID>`].
    ///
    /// Both begin with the same node, so that this type alone determines whether there is a timer.
    type Field: private::Field<T, ID>;

    /// Returns the field of an object.
    ///
    /// # Safety
    ///
    /// `this` must point to a valid object.
    unsafe fn raw_get_kthread_work(this: *mut Self) -> *mut Self::Field;

    /// Returns the object that contains the field.
    ///
    /// # Safety
    ///
    /// `work` must point to that field of a valid object.
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

/// Implements [`HasKthreadWork`] for a struct with a [`KthreadWork`] field.
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
                // `core` may be another crate in the crate that uses this macro, hence the path.
                let offset = $crate::tether::core_crate::mem::offset_of!(Self, $field);
                // SAFETY: The caller guarantees that `work` points at this field of a valid object,
                // which begins `offset` bytes before its field.
                unsafe { work.byte_sub(offset).cast::<Self>() }
            }
        }
    };
}
pub use crate::impl_has_kthread_work;

/// Implements [`HasKthreadWork`] for a struct with a [`KthreadDelayedWork`] field.
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
