// SPDX-License-Identifier: GPL-2.0

//! Finds the pending works of all tasks.

use super::{
    ordered,
    run::{
        run_box,
        run_work, //
    },
    running,
    Node, //
};
use crate::{
    bindings,
    prelude::*, //
};
use core::ptr;

/// Whether the kernel calls this function for works that are nodes.
fn is_of_node(function: bindings::task_work_func_t) -> bool {
    function.is_some_and(|function| {
        let address = function as usize;
        address == run_box as *const () as usize || address == run_work as *const () as usize
    })
}

/// Calls `seen` for each node of a batch that was taken off a list, with the address of the task.
///
/// # Safety
///
/// The works must be valid, linked by their heads, and kept from being run.
unsafe fn for_each_in_batch(
    task: usize,
    mut next: *mut bindings::callback_head,
    seen: &mut impl FnMut(usize, &Node),
) {
    // SAFETY: A work in the batch is valid, by the function's contract.
    while let Some(head) = unsafe { next.as_ref() } {
        if is_of_node(head.func) {
            // SAFETY: The function says that the head is at the beginning of a node.
            seen(task, unsafe { &*next.cast::<Node>() });
        }
        next = head.next;
    }
}

/// Calls `seen` for each node that is pending on a task, with the address of that task: those in
/// the lists of tasks, in batches behind a running callback, and in queues.
///
/// `seen` is called in atomic context, possibly with a task's `pi_lock` held.
pub(super) fn for_each_pending<F: FnMut(usize, &Node)>(seen: &mut F) {
    /// # Safety
    ///
    /// `data` must be an `F`; the others valid, the work that of a [`Node`].
    unsafe extern "C" fn call<F: FnMut(usize, &Node)>(
        task: *mut bindings::task_struct,
        head: *mut bindings::callback_head,
        data: *mut c_void,
    ) {
        // SAFETY: `data` is an `F` by the function's contract.
        let seen = unsafe { &mut *data.cast::<F>() };
        // SAFETY: The work is that of a valid node, by the function's contract.
        seen(task as usize, unsafe { &*head.cast::<Node>() });
    }

    for function in [run_box, run_work] {
        // SAFETY: `call::<F>` is given the closure that it expects, which outlives the call, and
        // works with these functions are nodes.
        unsafe {
            bindings::tether_for_each_task_work(
                Some(function),
                Some(call::<F>),
                ptr::from_mut(seen).cast(),
            )
        };
    }
    running::for_each(|running| {
        // SAFETY: The callback is kept from returning, so that the works behind it are not run.
        unsafe { for_each_in_batch(running.task, running.next, seen) };
    });
    ordered::for_each_pending(None, seen);
}
