// SPDX-License-Identifier: GPL-2.0

//! The pointers that can be queued to a worker.

use super::{
    HasKthreadDelayedWork,
    HasKthreadWork,
    KthreadWorkItem,
    Node,
    Queue,
    Vtable,
    WorkContext, //
};
use crate::{
    bindings,
    prelude::*,
    sync::Arc,
    types::NotThreadSafe, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A pointer that is passed to the kernel while its object is pending.
///
/// # Safety
///
/// * A node that `into_node` returns must stay valid and pinned until `from_node` is called with
///   it.
/// * The functions of `VTABLE` must convert such a node back to the pointer that it comes from.
pub unsafe trait KthreadWorkPointer<const ID: u64>: Sized + Send + 'static {
    /// The functions of the node.
    #[doc(hidden)]
    const VTABLE: &'static Vtable;

    /// Converts the pointer to its node.
    #[doc(hidden)]
    fn into_node(self) -> NonNull<Node>;

    /// Converts a node back to the pointer that `into_node` was called with.
    ///
    /// # Safety
    ///
    /// The node must come from `into_node`, and this must be called once for it.
    #[doc(hidden)]
    unsafe fn from_node(node: NonNull<Node>) -> Self;
}

/// A pointer to an object with a [`KthreadDelayedWork`](super::KthreadDelayedWork).
///
/// # Safety
///
/// Each node must be the beginning of a [`DelayedNode`](super::DelayedNode).
pub unsafe trait KthreadDelayedWorkPointer<const ID: u64>: KthreadWorkPointer<ID> {}

/// Returns the node of an object.
///
/// # Safety
///
/// `this` must point to a valid object.
pub(super) unsafe fn node_of<T, const ID: u64>(this: *mut T) -> NonNull<Node>
where
    T: HasKthreadWork<T, ID>,
{
    // SAFETY: `raw_get_kthread_work()` requires a valid object, which `this` points to by the
    // function's contract.
    let work = unsafe { T::raw_get_kthread_work(this) };
    // SAFETY: `work` points to a field of a valid object, so that it is not null. The field begins
    // with the node.
    unsafe { NonNull::new_unchecked(work.cast::<Node>()) }
}

/// Returns the object that contains a node.
///
/// # Safety
///
/// `node` must be in the field `ID` of a valid `T`.
unsafe fn item_of<T, const ID: u64>(node: NonNull<Node>) -> *mut T
where
    T: HasKthreadWork<T, ID>,
{
    // SAFETY: `kthread_work_container_of()` requires a pointer to the field of a valid object. By
    // the function's contract the node is at the beginning of this field.
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

    /// Runs the item of a work.
    /// # Safety
    ///
    /// `work` must be that of a node that owns a pointer and was enqueued. The caller must be the
    /// worker's thread.
    unsafe extern "C" fn run(work: *mut bindings::kthread_work) {
        // Read the worker first: afterwards the node belongs to the callee.
        //
        // SAFETY: `from_worker()` requires the worker of a queue that is valid as long as the
        // result is used. The work was queued to the worker of a queue, which is valid while the
        // worker's thread runs.
        let queue = unsafe { Queue::from_worker((*work).worker) };
        // SAFETY: `from_node()` requires a node that comes from `into_node()` and is used once. By
        // the function's contract the node owns a pointer, and the worker runs it once for each
        // time that it is enqueued.
        let this = unsafe { P::from_node(Node::from_work(work)) };
        // INVARIANT: This is a callback, in the thread of the worker of `queue`.
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

    /// Drops the item of a node that is not pending any more.
    /// # Safety
    ///
    /// The node must own a pointer, and must not be pending. This must be called once for it.
    unsafe fn release(node: NonNull<Node>) {
        // SAFETY: `from_node()` requires a node that comes from `into_node()` and is used once,
        // which is in the function's contract.
        drop(unsafe { P::from_node(node) });
    }
}

// SAFETY: The node is in the box, which is pinned, and which belongs to the node until
// `from_node()` is called. The functions of `VTABLE` use `from_node()` of this type.
unsafe impl<T, const ID: u64> KthreadWorkPointer<ID> for Pin<KBox<T>>
where
    T: KthreadWorkItem<ID, Pointer = Self> + HasKthreadWork<T, ID> + Send + 'static,
{
    const VTABLE: &'static Vtable = &Callbacks::<T, Self, ID>::VTABLE;

    #[inline]
    fn into_node(self) -> NonNull<Node> {
        // SAFETY: `into_inner_unchecked()` requires that the object is not moved. It stays at its
        // address, behind a raw pointer.
        let this = KBox::into_raw(unsafe { Pin::into_inner_unchecked(self) });
        // SAFETY: `node_of()` requires a valid object. `this` comes from a box.
        unsafe { node_of::<T, ID>(this) }
    }

    #[inline]
    unsafe fn from_node(node: NonNull<Node>) -> Self {
        // SAFETY: `item_of()` requires the node of a valid `T`, and `from_raw()` a box that was
        // passed to its node. Both hold because the node comes from `into_node()`, and is used
        // once, by the function's contract.
        let this = unsafe { KBox::from_raw(item_of::<T, ID>(node)) };
        // SAFETY: The box was pinned when it was passed to the node, and has not been moved since.
        unsafe { Pin::new_unchecked(this) }
    }
}

// SAFETY: The field of a `HasKthreadDelayedWork` is a `KthreadDelayedWork`, which is a
// `DelayedNode`.
unsafe impl<T, const ID: u64> KthreadDelayedWorkPointer<ID> for Pin<KBox<T>> where
    T: KthreadWorkItem<ID, Pointer = Self> + HasKthreadDelayedWork<T, ID> + Send + 'static
{
}

// SAFETY: The node is in the object of the `Arc`, which is always pinned, and owns a reference
// until `from_node()` is called. The functions of `VTABLE` use `from_node()` of this type.
unsafe impl<T, const ID: u64> KthreadWorkPointer<ID> for Arc<T>
where
    T: KthreadWorkItem<ID, Pointer = Self> + HasKthreadWork<T, ID> + Send + Sync + 'static,
{
    const VTABLE: &'static Vtable = &Callbacks::<T, Self, ID>::VTABLE;

    #[inline]
    fn into_node(self) -> NonNull<Node> {
        // SAFETY: `node_of()` requires a valid object. The reference that is passed to the node
        // here keeps it valid.
        unsafe { node_of::<T, ID>(Arc::into_raw(self).cast_mut()) }
    }

    #[inline]
    unsafe fn from_node(node: NonNull<Node>) -> Self {
        // SAFETY: `item_of()` requires the node of a valid `T`, and `from_raw()` a reference that
        // was passed to its node. Both hold because the node comes from `into_node()`, and is used
        // once, by the function's contract.
        unsafe { Arc::from_raw(item_of::<T, ID>(node)) }
    }
}

// SAFETY: The field of a `HasKthreadDelayedWork` is a `KthreadDelayedWork`, which is a
// `DelayedNode`.
unsafe impl<T, const ID: u64> KthreadDelayedWorkPointer<ID> for Arc<T> where
    T: KthreadWorkItem<ID, Pointer = Self> + HasKthreadDelayedWork<T, ID> + Send + Sync + 'static
{
}
