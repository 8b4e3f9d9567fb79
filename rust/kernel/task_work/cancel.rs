// SPDX-License-Identifier: GPL-2.0

//! Cancelling an item, and waiting until it has run.

use super::{
    item::node_of,
    node::Kind,
    orphans,
    run::pass_by,
    state::{
        self,
        Cancelled, //
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
    /// It will not run; here it is.
    Cancelled(T),
    /// Its target has begun to run it, or has done so.
    TooLate,
    /// It is not pending on that task: it was never added to it, was added to another one since, or
    /// was cancelled before.
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

/// Cancels an item that is pending on `task`; that very item, by its identity.
///
/// A cancelled item is not run. An item that is pending on another task is left alone, even if the
/// item is added there at the same time.
///
/// The item stays alive, its module pinned, and it cannot be added again, until the target passes
/// the place where it was linked. In a kernel tree that has this file, the item is unlinked
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
    // SAFETY: `item` keeps the object valid.
    let node = unsafe { node_of::<T, ID>(Arc::as_ptr(item).cast_mut()) };
    // SAFETY: `item` keeps the object, and with it the node, valid. It is the node of an `Arc`.
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
/// The node must be that of an `Arc`, and the caller must keep the object valid.
#[inline(never)]
unsafe fn cancel_node(task: &Task, node: NonNull<Node>) -> Cancelled {
    // SAFETY: The node is valid by the function's contract.
    let this = unsafe { node.as_ref() };
    let target = task.as_ptr() as usize;
    let word = this.state.load();
    // A node that was unlinked belongs to the thread that has unlinked it, as it belongs to the
    // target which takes it off the list. So the node is unlinked first, and claimed then: the
    // state alone does not say whether the node is linked, or by which add.
    if word.target() == target && word.state() == state::QUEUED && unlink(task, this) {
        // Before the node is idle: then another module may add it.
        //
        // SAFETY: The node was linked, and nothing has dropped its pin yet.
        let (kind, owner) = (unsafe { this.vtable() }.kind, this.owner);
        if this.state.reclaim() {
            if let Kind::Arc { release } = kind {
                // SAFETY: The node was queued and is ours, and with it the reference.
                unsafe { release(node) };
            }
            // SAFETY: The pin of the node is ours, as it is that of an add which was not run.
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
/// Process context. Sleeps, interruptibly. In an interrupt it is refused, unless it would not wait.
///
/// # Errors
///
/// * [`ERESTARTSYS`] if a signal came;
/// * [`EDEADLK`] if the current task is the one that is to run the item, or is running it, also if
///   the item is added to the current task while this waits; in an interrupt, which cannot wait;
///   and in the exit of a task, and in a worker of a workqueue, which get no signals, unless the
///   wait is limited to a minute.
pub fn wait<T, const ID: u64>(item: &Arc<T>) -> Result
where
    T: TaskWorkItem<ID, Pointer = Arc<T>> + HasTaskWork<T, ID> + Send + Sync + 'static,
{
    // SAFETY: `item` keeps the object valid.
    let node = unsafe { node_of::<T, ID>(Arc::as_ptr(item).cast_mut()) };
    // SAFETY: The node is a field of the object, which `item` keeps valid.
    unsafe { node.as_ref() }.state.wait(Jiffies::MAX)
}

/// Like [`wait`], but no longer than `time`, which is rounded up to whole ticks.
///
/// # Context
///
/// Process context. Sleeps, interruptibly. In an interrupt it is refused, unless it would not wait.
///
/// # Errors
///
/// Fails like [`wait`], or with [`ETIMEDOUT`] once `time` is over.
pub fn wait_timeout<T, const ID: u64>(item: &Arc<T>, time: Delta) -> Result
where
    T: TaskWorkItem<ID, Pointer = Arc<T>> + HasTaskWork<T, ID> + Send + Sync + 'static,
{
    // SAFETY: `item` keeps the object valid.
    let node = unsafe { node_of::<T, ID>(Arc::as_ptr(item).cast_mut()) };
    // SAFETY: The node is a field of the object, which `item` keeps valid.
    unsafe { node.as_ref() }.state.wait(as_jiffies(time))
}

/// Takes a node off its task's list, if that can be done, and returns whether it was.
fn unlink(task: &Task, node: &Node) -> bool {
    // The kernel does not export this to modules.
    #[cfg(not(MODULE))]
    // SAFETY: The task is valid; the node is only compared with.
    let unlinked =
        unsafe { bindings::task_work_cancel(task.as_ptr(), (&raw const node.head).cast_mut()) };
    #[cfg(MODULE)]
    let unlinked = {
        let _ = (task, node);
        false
    };
    unlinked
}
