// SPDX-License-Identifier: GPL-2.0

//! Objects that contain a node: the field [`TaskWork`], and the pointers that can be added.

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
/// If a struct has several such fields, they have different `ID`s.
///
/// `T` selects the callback when the field is created. The type is therefore invariant in `T`: a
/// field that was created for a type is never used for a subtype with another [`TaskWorkItem`].
///
/// # Invariants
///
/// `node` is initialised, and its vtable is that of the pointer by which the item is added.
#[pin_data]
#[repr(transparent)]
pub struct TaskWork<T: ?Sized, const ID: u64 = 0> {
    #[pin]
    node: Opaque<Node>,
    _item: PhantomData<*mut T>,
}

// SAFETY: The node is only accessed by the thread that has queued it, by the task that runs it, and
// through its atomic state. This type gives no access to a `T`.
unsafe impl<T: ?Sized, const ID: u64> Send for TaskWork<T, ID> {}
// SAFETY: A shared reference to the field gives no access to the node, except to its atomic state.
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
        // INVARIANT: `Node::init()` initialises `node` with `VTABLE`, which is the vtable of
        // `T::Pointer`.
        pin_init!(Self {
            node <- Opaque::ffi_init(move |node: *mut Node| {
                // The owner of a box may queue the box at any time, so that its node is always
                // `PENDING`. A box has no target; these bits of the word identify the callback in
                // which the box was created.
                let (state, target) = match vtable.kind {
                    Kind::Box { .. } => {
                        let birth = running::birth().wrapping_mul(State::UNIT);
                        (state::PENDING, birth)
                    }
                    _ => (state::IDLE, 0),
                };
                // SAFETY: `Node::init()` requires a slot that is valid for writes, and a vtable in
                // the module that contains its functions. `node` is valid for writes, and `VTABLE`
                // is a constant beside its functions.
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
/// The methods must be the inverse of each other, for a field of the object.
pub unsafe trait HasTaskWork<T, const ID: u64 = 0> {
    /// Returns the field of an object.
    ///
    /// # Safety
    ///
    /// `this` must point to a valid object.
    unsafe fn raw_get_task_work(this: *mut Self) -> *mut TaskWork<T, ID>;

    /// Returns the object that contains the field.
    ///
    /// # Safety
    ///
    /// `work` must point to that field of a valid object.
    unsafe fn task_work_container_of(work: *mut TaskWork<T, ID>) -> *mut Self;
}

/// Implements [`HasTaskWork`] for a struct with a [`TaskWork`] field.
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
                // `core` may be another crate in the crate that uses this macro, hence the path.
                let offset = $crate::tether::core_crate::mem::offset_of!(Self, $field);
                // SAFETY: The caller guarantees that `work` points at this field of a valid object,
                // which begins `offset` bytes before its field.
                unsafe { work.byte_sub(offset).cast::<Self>() }
            }
        }
    )*};
}
pub use crate::impl_has_task_work;

/// A pointer that is passed to the kernel while its object is pending.
///
/// # Safety
///
/// * A node that `into_node` returns must stay valid and pinned until it is run or released, or
///   until `from_node` is called with it. Its state is `state::QUEUED` or `state::PENDING`.
/// * The functions of `VTABLE` must convert such a node back to the pointer that it comes from.
pub unsafe trait TaskWorkPointer<const ID: u64>: Sized + Send + 'static {
    /// The functions of the node.
    #[doc(hidden)]
    const VTABLE: &'static Vtable;

    /// Converts the pointer to its node, to be queued to `target`. Returns the pointer as an error
    /// if the node is in use.
    ///
    /// # Safety
    ///
    /// The caller must queue the node to `target`, or call `from_node`. Otherwise the object is
    /// leaked, and the item stays pending.
    #[doc(hidden)]
    unsafe fn into_node(self, target: &Task) -> Result<NonNull<Node>, Self>;

    /// Converts a node that was not queued back to the pointer that `into_node` was called with.
    ///
    /// # Safety
    ///
    /// The node must come from `into_node`, and this must be called once for it.
    #[doc(hidden)]
    unsafe fn from_node(node: NonNull<Node>) -> Self;
}

/// Returns the node of an object.
///
/// # Safety
///
/// `this` must point to a valid object.
pub(super) unsafe fn node_of<T, const ID: u64>(this: *mut T) -> NonNull<Node>
where
    T: HasTaskWork<T, ID>,
{
    // SAFETY: `raw_get_task_work()` requires a valid object, which `this` points to by the
    // function's contract.
    let work = unsafe { T::raw_get_task_work(this) };
    // SAFETY: `work` points to a field of a valid object, so that it is not null. `TaskWork` and
    // `Opaque` are transparent wrappers of the node.
    unsafe { NonNull::new_unchecked(work.cast::<Node>()) }
}

/// Returns the object that contains a node.
///
/// # Safety
///
/// `node` must be in the field `ID` of a valid `T`.
unsafe fn item_of<T, const ID: u64>(node: NonNull<Node>) -> *mut T
where
    T: HasTaskWork<T, ID>,
{
    // SAFETY: `task_work_container_of()` requires a pointer to the field of a valid object. By the
    // function's contract `node` is in this field, and `TaskWork` is a transparent wrapper of the
    // node.
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

    /// Converts a node to the box that contains it.
    /// # Safety
    ///
    /// A box must have been passed to the node, which must be used once.
    pub(super) unsafe fn into_box(node: NonNull<Node>) -> Pin<KBox<T>> {
        // SAFETY: `item_of()` requires the node of a valid `T`, and `from_raw()` a box that was
        // passed to its node and is taken back once. Both are in the function's contract. The box
        // was pinned when it was passed to its node and has not been moved.
        unsafe { Pin::new_unchecked(KBox::from_raw(item_of::<T, ID>(node))) }
    }

    /// Runs the item.
    /// # Safety
    ///
    /// The requirements are those of [`Self::into_box`]. The caller must be in a callback.
    unsafe fn run(node: NonNull<Node>) {
        // SAFETY: `into_box()` has the requirements of this function. `Context::new()` requires a
        // callback that does not keep the context: the caller is in a callback, and `T::run`
        // accepts a reference of any lifetime.
        T::run(unsafe { Self::into_box(node) }, unsafe { Context::new() });
    }

    /// Drops the item of a disarmed node and returns its memory.
    /// # Safety
    ///
    /// The requirements are those of [`Self::into_box`].
    unsafe fn discard(node: NonNull<Node>) -> *mut c_void {
        // SAFETY: `item_of()` requires the node of a valid `T`, which it is by the function's
        // contract.
        let item = unsafe { item_of::<T, ID>(node) };
        // SAFETY: `drop_in_place()` requires a valid object that is ours and is not used
        // afterwards. The box was passed to its node, which is used once. The node has no
        // destructor, so that it stays linked in the memory, which is not freed here.
        unsafe { ptr::drop_in_place(item) };
        item.cast()
    }
}

// SAFETY: The node is in the box, which is pinned, and which belongs to the node until
// `from_node()` is called or the node is run. A box has one owner, so that its node is not queued
// yet. The functions of `VTABLE` convert the node back by `into_box()`.
unsafe impl<T, const ID: u64> TaskWorkPointer<ID> for Pin<KBox<T>>
where
    T: TaskWorkItem<ID, Pointer = Self> + HasTaskWork<T, ID> + Send + 'static,
{
    const VTABLE: &'static Vtable = &BoxWork::<T, ID>::VTABLE;

    #[inline]
    unsafe fn into_node(self, target: &Task) -> Result<NonNull<Node>, Self> {
        // SAFETY: `into_inner_unchecked()` requires that the object is not moved. It stays at its
        // address, behind a raw pointer.
        let this = KBox::into_raw(unsafe { Pin::into_inner_unchecked(self) });
        // SAFETY: `node_of()` requires a valid object. `this` comes from a box.
        let node = unsafe { node_of::<T, ID>(this) };
        let born = || {
            // SAFETY: The node is a field of a valid object.
            unsafe { node.as_ref() }.state.load().target() / State::UNIT
        };
        if is_current(target) && running::is_inside(this as usize, size_of::<T>(), true, born) {
            // SAFETY: `into_box()` requires a box that was passed to its node and is taken back
            // once. The box was passed to the node above, and the node was not returned.
            return Err(unsafe { BoxWork::<T, ID>::into_box(node) });
        }
        Ok(node)
    }

    #[inline]
    unsafe fn from_node(node: NonNull<Node>) -> Self {
        // SAFETY: `into_box()` requires a box that was passed to its node and is taken back once.
        // The node comes from `into_node()` and is used once, by the function's contract.
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

    /// Converts a node to the reference that was passed to it.
    /// # Safety
    ///
    /// A reference must have been passed to the node, which must be used once.
    unsafe fn into_arc(node: NonNull<Node>) -> Arc<T> {
        // SAFETY: `item_of()` requires the node of a valid `T`, and `Arc::from_raw()` a reference
        // that was passed to its node and is taken back once. Both are in the function's contract.
        unsafe { Arc::from_raw(item_of::<T, ID>(node)) }
    }

    /// Runs the item.
    /// # Safety
    ///
    /// The requirements are those of [`Self::into_arc`]. The caller must be in a callback.
    unsafe fn run(node: NonNull<Node>) {
        // SAFETY: `into_arc()` has the requirements of this function, which the caller meets.
        let this = unsafe { Self::into_arc(node) };
        // The callback may drop its reference, but the node is accessed afterwards.
        let held = this.clone();
        // SAFETY: `Context::new()` requires a callback that does not keep the context. The caller
        // is in a callback, and `T::run` accepts a reference of any lifetime.
        T::run(this, unsafe { Context::new() });
        // SAFETY: `held` keeps the object valid.
        unsafe { node.as_ref() }.state.finish();
        drop(held);
    }

    /// Drops the reference of a node that was cancelled.
    /// # Safety
    ///
    /// The requirements are those of [`Self::into_arc`].
    unsafe fn release(node: NonNull<Node>) {
        // SAFETY: `into_arc()` has the requirements of this function, which the caller meets.
        drop(unsafe { Self::into_arc(node) });
    }
}

// SAFETY: The node is in the object of the `Arc`, which is always pinned. The node owns a reference
// until `from_node()` is called or the node is run or released. Several threads may share the
// object; if `try_queue()` succeeds, the node belongs to the calling thread. The functions of
// `VTABLE` convert the node back by `into_arc()`.
unsafe impl<T, const ID: u64> TaskWorkPointer<ID> for Arc<T>
where
    T: TaskWorkItem<ID, Pointer = Self> + HasTaskWork<T, ID> + Send + Sync + 'static,
{
    const VTABLE: &'static Vtable = &ArcWork::<T, ID>::VTABLE;

    #[inline]
    unsafe fn into_node(self, target: &Task) -> Result<NonNull<Node>, Self> {
        let this = Arc::as_ptr(&self).cast_mut();
        // SAFETY: `node_of()` requires a valid object. `self` keeps the object valid.
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
        // SAFETY: `into_arc()` requires a reference that was passed to its node and is taken back
        // once. `into_node()` has passed a reference to the node, and the node is used once, by the
        // function's contract.
        let this = unsafe { ArcWork::<T, ID>::into_arc(node) };
        // SAFETY: `this` keeps the object valid.
        let old = unsafe { node.as_ref() }.state.withdraw();
        if old.state() == state::CANCELLED {
            orphans::remove(old.target());
        }
        this
    }
}
