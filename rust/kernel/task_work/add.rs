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
    Mode,
    Node,
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

/// Whether an add to `task` is refused because the task is being killed, or exits.
///
/// `task_work_run()` does not return while works are added. If a callback adds one, or another task
/// adds them faster than they run, a task that was killed would not end. A task in a system call
/// adds to itself until it exits.
#[inline(always)]
pub(super) fn is_refused_at_end(task: &Task) -> bool {
    let own = ptr::eq(task.as_ptr(), Task::current_raw());
    (!own || running::may_have_record()) && is_refused_if_ending(task, own)
}

#[inline(never)]
fn is_refused_if_ending(task: &Task, own: bool) -> bool {
    // SAFETY: The task is valid.
    let ending = unsafe { bindings::tether_is_ending(task.as_ptr()) };
    ending && (!own || running::is_in_callback())
}

/// Whether a callback that adds to this task adds to the one that runs it.
#[inline(always)]
pub(super) fn is_current(task: &Task) -> bool {
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
pub(super) fn add_by<P, const ID: u64>(
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
pub(super) unsafe fn add_node(task: &Task, node: NonNull<Node>, mode: Mode) -> Result {
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
