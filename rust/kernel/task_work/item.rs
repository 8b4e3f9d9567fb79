// SPDX-License-Identifier: GPL-2.0

//! Objects that own a node: the field [`TaskWork`], and the pointers that can be added.

use super::{
    add::is_current,
    node::Kind,
    orphans,
    running,
    state::{
        self,
        State, //
    },
    Context,
    Node,
    TaskWorkItem,
    Vtable, //
};
use crate::{
    prelude::*,
    sync::Arc,
    task::Task,
    types::Opaque, //
};
use core::{
    any::type_name,
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    }, //
};

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
pub(super) unsafe fn node_of<T, const ID: u64>(this: *mut T) -> NonNull<Node>
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
pub(super) struct BoxWork<T, const ID: u64>(PhantomData<T>);

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
    pub(super) unsafe fn into_box(node: NonNull<Node>) -> Pin<KBox<T>> {
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
