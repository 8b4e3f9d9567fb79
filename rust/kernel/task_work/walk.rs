// SPDX-License-Identifier: GPL-2.0

//! Walks the nodes that are queued on all tasks, for module teardown and `tether/outstanding`.

use super::{
    ordered,
    run::{
        run_box,
        run_work, //
    },
    running,
    tasks::for_each_work,
    Node, //
};
use crate::bindings;
use core::ptr;

/// Returns the node that a valid work is the head of, if it is that of a [`Node`].
pub(super) fn node_of_work(work: &bindings::callback_head) -> Option<&Node> {
    let address = work.func? as usize;
    let is_node =
        address == run_box as *const () as usize || address == run_work as *const () as usize;
    // SAFETY: Only nodes have these functions, so that `work` is at the beginning of a node. The
    // node is valid as long as its head.
    is_node.then(|| unsafe { &*ptr::from_ref(work).cast::<Node>() })
}

/// Calls `seen` for each node of a batch that was taken off a task's list, with the task's address.
///
/// # Safety
///
/// The works must be valid, linked by their heads, and must not be run during the call.
unsafe fn for_each_in_batch(
    task: usize,
    mut next: *mut bindings::callback_head,
    seen: &mut impl FnMut(usize, &Node),
) {
    // SAFETY: A work in the batch is valid, by the function's contract.
    while let Some(head) = unsafe { next.as_ref() } {
        if let Some(node) = node_of_work(head) {
            seen(task, node);
        }
        next = head.next;
    }
}

/// Calls `seen` for each pending node, with the address of its task. Finds the nodes in the lists
/// of tasks, in batches behind a running callback, and in `Ordered` queues.
///
/// `seen` is called in atomic context, possibly with a task's `pi_lock` held.
pub(super) fn for_each_pending<F: FnMut(usize, &Node)>(seen: &mut F) {
    for_each_work(|task, work| {
        if let Some(node) = node_of_work(work) {
            seen(task, node);
        }
    });
    running::for_each(|running| {
        // SAFETY: The works behind the callback must stay valid and must not be run.
        // `running::for_each()` keeps the callback from returning, so that its task does not take
        // the next work.
        unsafe { for_each_in_batch(running.task, running.next, seen) };
    });
    ordered::for_each_pending(None, seen);
}
