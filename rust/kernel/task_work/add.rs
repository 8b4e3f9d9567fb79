// SPDX-License-Identifier: GPL-2.0

//! Adding a work to a task.

use super::{
    item::{
        node_of,
        BoxWork, //
    },
    node::Kind,
    orphans,
    running,
    HasTaskWork,
    Node,
    NotifyMode,
    TaskWorkItem,
    TaskWorkPointer, //
};
use crate::{
    bindings,
    prelude::*,
    task::Task,
    tether::{
        is_kernel_thread,
        jiffies,
        Pins,
        Refused, //
    }, //
};
use core::ptr::{
    self,
    NonNull, //
};

/// Returns whether an add to `task` is refused because the task is being killed or exits.
///
/// `task_work_run()` does not return while works are added. If a callback adds a work to its own
/// task, or if another task adds works faster than they run, a task that was killed would not exit.
/// Outside of callbacks, a task may add works to itself until it exits.
#[inline(always)]
pub(super) fn is_refused_at_end(task: &Task) -> bool {
    let own = ptr::eq(task.as_ptr(), Task::current_raw());
    (!own || running::may_have_record()) && is_refused_if_ending(task, own)
}

/// Returns whether a task is being killed or is in its exit.
#[inline]
pub(super) fn is_ending(task: &Task) -> bool {
    // SAFETY: `tether_is_ending()` requires a valid task. `task` is a reference to one.
    unsafe { bindings::tether_is_ending(task.as_ptr()) }
}

#[inline(never)]
fn is_refused_if_ending(task: &Task, own: bool) -> bool {
    is_ending(task) && (!own || running::is_in_callback())
}

/// Returns whether `task` is the current task, so that a callback adds to the task that runs it.
#[inline(always)]
pub(super) fn is_current(task: &Task) -> bool {
    ptr::eq(task.as_ptr(), Task::current_raw())
}

/// Adds a box to `task`, even inside the callback of an object that had the same address, and even
/// if the task is being killed. The callback of `T` must not add works.
///
/// # Errors
///
/// The error returns the item, with [`ESRCH`] if the task runs no more works, which is only after
/// its last system call; or with [`ENODEV`] if the module of the callback is being removed.
pub(crate) fn add_other<T>(
    task: &Task,
    item: Pin<KBox<T>>,
    mode: NotifyMode,
) -> Result<(), Refused<Pin<KBox<T>>>>
where
    T: TaskWorkItem<0, Pointer = Pin<KBox<T>>> + HasTaskWork<T> + Send + 'static,
{
    // SAFETY: `into_inner_unchecked()` requires that the object is not moved. It stays at its
    // address, behind a raw pointer.
    let this = KBox::into_raw(unsafe { Pin::into_inner_unchecked(item) });
    // SAFETY: `node_of()` requires a valid object. `this` comes from a box.
    let node = unsafe { node_of::<T, 0>(this) };
    // SAFETY: `adopt()` requires a valid node that is ours and not linked, and its own vtable. We
    // own the box that contains the node, and `VTABLE` is that of the box's type.
    unsafe { Node::adopt(node, <Pin<KBox<T>> as TaskWorkPointer<0>>::VTABLE) };
    // SAFETY: The node is valid, because it is in a box that is ours.
    let this = unsafe { node.as_ref() };
    this.state.stamp(jiffies() as u32);
    let added = if this.pins.pin() {
        // SAFETY: `task_work_add()` requires a valid task, and a node that is in no list and stays
        // valid until it is run. The node is in a box that is ours; from here on it belongs to the
        // target.
        unsafe { bindings::task_work_add(task.as_ptr(), node.as_ptr().cast(), mode.as_raw()) }
    } else {
        ENODEV.to_errno()
    };
    if added == 0 {
        return Ok(());
    }
    // SAFETY: `add_failed()` requires a node that is ours, and the error by which it was refused.
    // If `task_work_add()` has failed, with `ESRCH`, the pin is left to us.
    let error = unsafe { add_failed(node, added) };
    // SAFETY: `into_box()` requires a box that was passed to a node and is taken back once. It was
    // passed by `KBox::into_raw()` above, and was not queued.
    Err(Refused::new(
        unsafe { BoxWork::<T, 0>::into_box(node) },
        error,
    ))
}

/// Adds `item` to `task`, which will run it.
///
/// An `Arc` may be added again to the same task while its callback runs: after the callback has
/// returned, it is called once more. Hence a request that arrives while the callback looks for work
/// is not lost. If the item is pending already, its callback sees the stores that the caller made
/// before this call returned [`EBUSY`].
///
/// # Context
///
/// Any context but NMI. Does not sleep and does not allocate. The caller must not hold the
/// `pi_lock` of a task.
///
/// # Errors
///
/// The error returns the item, with
///
/// * [`ESRCH`] if the task has exited, is being killed, or is exiting. In the last two cases the
///   task itself may still add works, outside of callbacks, until it has run its last works;
/// * [`EINVAL`] if the task is a kernel thread, which would run the item only when the thread ends;
/// * [`EBUSY`] if the item is pending, is running in another task, or was cancelled and its target
///   has not reached it since; and if the caller is the callback of the item, by this field of the
///   object or by another field: the target would never return to user space;
/// * [`EAGAIN`] if the item is an `Arc`, and several thousand cancelled works are still linked on
///   the task, because the task has not run since;
/// * [`ENODEV`] if the module of its callback is being removed, or is not known to Tether.
///
/// C: `task_work_add()` in [`kernel/task_work.c`](srctree/kernel/task_work.c).
#[doc(alias = "task_work_add")]
#[inline]
pub fn add<P, const ID: u64>(task: &Task, item: P, mode: NotifyMode) -> Result<(), Refused<P>>
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
        // SAFETY: `add_node()` requires a node that comes from `into_node()` for `task`. `add_by()`
        // passes such a node, and takes it back if this fails.
        unsafe { add_node(task, node, mode) }
    })
}

/// Adds `item` to `task` so that it runs soon, even if the task sleeps.
///
/// [`NotifyMode::Resume`] does not wake a sleeping task: the item would run only after the event
/// that the task waits for. This function uses [`NotifyMode::Signal`], which wakes the task like a
/// signal. This has a cost: the current system call of the task ends with `EINTR`, or is restarted
/// and may have to wait again; and a task that runs in user space on another CPU is interrupted. If
/// the task sleeps uninterruptibly or is stopped, the item still runs only when the task continues.
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
    add(task, item, NotifyMode::Signal)
}

/// Converts `item` to its node, and calls `queue` to queue the node to `task`. Converts the node
/// back to the item if `queue` fails.
#[inline]
pub(super) fn add_by<P, const ID: u64>(
    task: &Task,
    item: P,
    queue: impl FnOnce(NonNull<Node>) -> Result,
) -> Result<(), Refused<P>>
where
    P: TaskWorkPointer<ID>,
{
    // SAFETY: `into_node()` requires that the node is queued to `task` or passed to `from_node()`.
    // `queue` queues it, or fails, in which case it is passed to `from_node()` below.
    let node = unsafe { item.into_node(task) }.map_err(|item| Refused::new(item, EBUSY))?;
    // SAFETY: `adopt()` requires a valid node that is ours and not linked, and its own vtable. The
    // node comes from `into_node()` of `P`, and was not queued yet.
    unsafe { Node::adopt(node, P::VTABLE) };
    // SAFETY: `from_node()` requires a node that comes from `into_node()` and is used once. The
    // node was not queued, because `queue` failed.
    queue(node).map_err(|error| Refused::new(unsafe { P::from_node(node) }, error))
}

/// Queues a node.
///
/// # Safety
///
/// The node must come from [`TaskWorkPointer::into_node`] for `task`, or be the node of a new item
/// that the caller owns. If this succeeds, the node belongs to `task`.
#[inline]
pub(super) unsafe fn add_node(task: &Task, node: NonNull<Node>, mode: NotifyMode) -> Result {
    // SAFETY: The node is valid, because by the function's contract the caller owns the item.
    let this = unsafe { node.as_ref() };
    this.state.stamp(jiffies() as u32);
    // SAFETY: `link_node()` has the requirements of this function, which the caller meets. If this
    // succeeds, the target may have run and freed the node already; `node` is not accessed
    // afterwards.
    match unsafe { link_node(task, node, mode.as_raw(), this.pins) } {
        0 => Ok(()),
        // SAFETY: `add_failed()` requires a node that is ours, and the error of `link_node()` for
        // it. The node was not queued, because `link_node()` failed.
        error => Err(unsafe { add_failed(node, error) }),
    }
}

/// Drops the pin of a node that was not queued, if it has a pin, and returns the error.
///
/// # Safety
///
/// The node must belong to the caller, and `error` must be the result of [`link_node`] for it.
#[cold]
#[inline(never)]
unsafe fn add_failed(node: NonNull<Node>, error: c_int) -> Error {
    if error == ESRCH.to_errno() {
        // SAFETY: The node is valid, because it is the caller's. `unpin()` requires a pin that is
        // ours: if `link_node()` returns `ESRCH`, it has pinned the owner and left the pin to its
        // caller. This is permanent text.
        unsafe { node.as_ref().owner.unpin() };
    }
    Error::from_errno(error)
}

/// Pins the owner of a node by `pins`, and adds the node to the list of `task`. Returns 0 or a
/// negative errno. If the error is `ESRCH`, which is the only error of `task_work_add()`, the pin
/// is left to the caller.
///
/// # Safety
///
/// The requirements are those of [`add_node`]. `pins` must be those of the node.
#[inline(never)]
unsafe fn link_node(
    task: &Task,
    node: NonNull<Node>,
    mode: bindings::task_work_notify_mode,
    pins: &'static Pins,
) -> c_int {
    // A kernel thread would run the work only when the thread ends.
    if is_kernel_thread(task) {
        return EINVAL.to_errno();
    }
    if !pins.pin() {
        return ENODEV.to_errno();
    }
    if is_refused_at_end(task) {
        return ESRCH.to_errno();
    }
    // SAFETY: `task_work_add()` requires a valid task, and a node that is in no list and stays
    // valid until it is run. `task` is a reference; by the function's contract the node is the
    // caller's, so it is in no list, and from here on it belongs to the target.
    unsafe { bindings::task_work_add(task.as_ptr(), node.as_ptr().cast(), mode) }
}
