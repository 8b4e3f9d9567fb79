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
pub(super) unsafe fn node_of<T, const ID: u64>(this: *mut T) -> NonNull<Node>
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
