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

/// Returns whether `function` is the function of a work that is a [`Node`].
fn is_of_node(function: bindings::task_work_func_t) -> bool {
    function.is_some_and(|function| {
        let address = function as usize;
        address == run_box as *const () as usize || address == run_work as *const () as usize
    })
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
        if is_of_node(head.func) {
            // SAFETY: `func` is a function of nodes, so that the head is at the beginning of a
            // node, which is valid by the function's contract.
            seen(task, unsafe { &*next.cast::<Node>() });
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
        if is_of_node(work.func) {
            // SAFETY: `func` is a function of nodes, so that the work is the head at the beginning
            // of a node. It is valid during the call, because it is in the list of a task.
            seen(task, unsafe { &*ptr::from_ref(work).cast::<Node>() });
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
