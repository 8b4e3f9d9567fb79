// SPDX-License-Identifier: GPL-2.0

//! Cancelling an item, and waiting until it has run.

use super::{
    item::node_of,
    node::Kind,
    orphans,
    run::pass_by,
    state::{
        self,
        Cancelled,
        WaitLimit, //
    },
    HasTaskWork,
    Node,
    TaskWorkItem, //
};
use crate::{
    prelude::*,
    sync::Arc,
    task::Task,
    tether::as_jiffies,
    time::{
        Delta,
        Jiffies, //
    }, //
};
use core::ptr::NonNull;

/// The result of a cancellation.
#[derive(Debug, PartialEq, Eq)]
pub enum Cancel<T> {
    /// The item was cancelled and will not run.
    Cancelled(T),
    /// The target runs the item or has run it.
    TooLate,
    /// The item is not pending on that task: it was never added to that task, was added to another
    /// task since, or was cancelled before.
    NotQueued,
}

impl<T> Cancel<T> {
    /// Returns the item, if it was cancelled.
    ///
    /// # Context
    ///
    /// Any context in which the item may be dropped.
    pub fn cancelled(self) -> Option<T> {
        match self {
            Cancel::Cancelled(item) => Some(item),
            Cancel::TooLate | Cancel::NotQueued => None,
        }
    }
}

/// Cancels the item `item`, if it is pending on `task`.
///
/// A cancelled item is not run. An item that is pending on another task is not cancelled, even if
/// it is added there concurrently.
///
/// The item stays alive, its module stays pinned, and it cannot be added again, until the target
/// reaches the node in its list. In a kernel tree that contains this file, the node is unlinked
/// instead, unless the target is about to run it.
///
/// # Context
///
/// Any context but NMI. Does not sleep. The caller must not hold the `pi_lock` of a task.
///
/// C: `task_work_cancel()` in [`kernel/task_work.c`](srctree/kernel/task_work.c).
#[doc(alias = "task_work_cancel")]
pub fn cancel<T, const ID: u64>(task: &Task, item: &Arc<T>) -> Cancel<Arc<T>>
where
    T: TaskWorkItem<ID, Pointer = Arc<T>> + HasTaskWork<T, ID> + Send + Sync + 'static,
{
    // SAFETY: `node_of()` requires a valid object. `item` keeps the object valid.
    let node = unsafe { node_of::<T, ID>(Arc::as_ptr(item).cast_mut()) };
    // SAFETY: `cancel_node()` requires the node of an `Arc`, with an object that stays valid.
    // `item` is that `Arc`.
    match unsafe { cancel_node(task, node) } {
        Cancelled::Now => Cancel::Cancelled(item.clone()),
        Cancelled::TooLate => Cancel::TooLate,
        Cancelled::NotQueued => Cancel::NotQueued,
    }
}

/// Cancels the node of an `Arc`.
///
/// # Safety
///
/// The node must be that of an `Arc`, and the caller must keep the object valid during the call.
#[inline(never)]
unsafe fn cancel_node(task: &Task, node: NonNull<Node>) -> Cancelled {
    // SAFETY: The caller keeps the object valid, by the function's contract, and the node is a
    // field of it.
    let this = unsafe { node.as_ref() };
    let target = task.as_ptr() as usize;
    let word = this.state.load();
    // A node that was unlinked belongs to the thread that has unlinked it, as a node that the
    // target takes off its list belongs to the target. Hence the node is unlinked first and claimed
    // afterwards: the state alone does not tell whether the node is linked, or by which add.
    if word.target() == target && word.state() == state::QUEUED && unlink(task, this) {
        // Read these fields before the node becomes idle: then another module may add the item and
        // overwrite them.
        //
        // SAFETY: `vtable()` requires that the owner is pinned. The node was linked, and no other
        // thread drops the pin of a node that we have unlinked.
        let (kind, owner) = (unsafe { this.vtable() }.kind, this.owner);
        if this.state.reclaim() {
            if let Kind::Arc { release } = kind {
                // SAFETY: `release()` requires a node to which a reference was passed, and which is
                // used once. `reclaim()` has made the node idle, so the reference of the add is
                // ours.
                unsafe { release(node) };
            }
            // SAFETY: `unpin()` requires a pin that is ours. `reclaim()` succeeded, so the pin of
            // the add, which was not run, is ours. This is permanent text.
            unsafe { owner.unpin() };
            return Cancelled::Now;
        }
        // SAFETY: The node is no longer linked, and another thread has cancelled or disarmed it.
        unsafe { pass_by(node, None) };
        return Cancelled::NotQueued;
    }
    let result = this.state.cancel(target);
    if matches!(result, Cancelled::Now) {
        orphans::add(target);
    }
    result
}

/// Waits until an item is neither pending nor running, or was cancelled.
///
/// # Context
///
/// Process context. Sleeps, interruptibly. In an interrupt, fails if it would have to wait.
///
/// # Errors
///
/// * [`ERESTARTSYS`] if a signal is pending;
/// * [`EDEADLK`] if the current task is the target of the item, even if the item is added to the
///   current task during the wait; in an interrupt, which cannot wait; and in the exit of a task,
///   and in a kernel thread that Tether has not created, because they receive no signals, unless
///   the wait is limited to at most a minute.
pub fn wait<T, const ID: u64>(item: &Arc<T>) -> Result
where
    T: TaskWorkItem<ID, Pointer = Arc<T>> + HasTaskWork<T, ID> + Send + Sync + 'static,
{
    wait_within(item, WaitLimit::signal(Jiffies::MAX))
}

/// Waits like [`wait`], but for at most `time`, which is rounded up to whole ticks.
///
/// # Context
///
/// Process context. Sleeps, interruptibly. In an interrupt, fails if it would have to wait.
///
/// # Errors
///
/// Fails like [`wait`], or with [`ETIMEDOUT`] if `time` has passed.
pub fn wait_timeout<T, const ID: u64>(item: &Arc<T>, time: Delta) -> Result
where
    T: TaskWorkItem<ID, Pointer = Arc<T>> + HasTaskWork<T, ID> + Send + Sync + 'static,
{
    wait_within(item, WaitLimit::signal(as_jiffies(time)))
}

/// Waits like [`wait`], but only a fatal signal ends the wait.
///
/// # Context
///
/// Process context. Sleeps, killably. In an interrupt, fails if it would have to wait.
///
/// # Errors
///
/// * [`EINTR`] if the current task is being killed, or is a kernel thread that is requested to
///   stop;
/// * [`EDEADLK`] as for [`wait`].
pub fn wait_killable<T, const ID: u64>(item: &Arc<T>) -> Result
where
    T: TaskWorkItem<ID, Pointer = Arc<T>> + HasTaskWork<T, ID> + Send + Sync + 'static,
{
    wait_within(item, WaitLimit::kill(Jiffies::MAX))
}

/// Waits like [`wait`], for at most `time`, and no signal ends the wait.
///
/// # Context
///
/// Process context. Sleeps, uninterruptibly. In an interrupt, fails if it would have to wait.
///
/// # Errors
///
/// * [`ETIMEDOUT`] if `time` has passed;
/// * [`EINVAL`] if `time` is more than a minute, and the item is pending or running;
/// * [`EDEADLK`] as for [`wait`].
pub fn wait_uninterruptible<T, const ID: u64>(item: &Arc<T>, time: Delta) -> Result
where
    T: TaskWorkItem<ID, Pointer = Arc<T>> + HasTaskWork<T, ID> + Send + Sync + 'static,
{
    wait_within(item, WaitLimit::time(as_jiffies(time)))
}

fn wait_within<T, const ID: u64>(item: &Arc<T>, limit: WaitLimit) -> Result
where
    T: TaskWorkItem<ID, Pointer = Arc<T>> + HasTaskWork<T, ID> + Send + Sync + 'static,
{
    // SAFETY: `node_of()` requires a valid object. `item` keeps the object valid.
    let node = unsafe { node_of::<T, ID>(Arc::as_ptr(item).cast_mut()) };
    // SAFETY: The node is a field of the object, which `item` keeps valid.
    unsafe { node.as_ref() }.state.wait(limit)
}

/// Removes a node from the list of a task, if the kernel allows it. Returns whether the node was
/// removed.
fn unlink(task: &Task, node: &Node) -> bool {
    // The kernel does not export `task_work_cancel()` to modules.
    #[cfg(not(MODULE))]
    // SAFETY: `task_work_cancel()` requires a valid task. The node is only compared with the works
    // in the list of the task.
    let unlinked =
        unsafe { bindings::task_work_cancel(task.as_ptr(), (&raw const node.head).cast_mut()) };
    #[cfg(MODULE)]
    let unlinked = {
        let _ = (task, node);
        false
    };
    unlinked
}
