// SPDX-License-Identifier: GPL-2.0

//! Limits how many cancelled works stay linked on one target.
//!
//! A cancelled closure is memory that stays until the target passes the node, and a cancelled `Arc`
//! stays alive for as long. A target may be stopped for as long as its user likes, so that adding
//! and cancelling in a loop would use up memory.

use super::{
    ordered,
    run::run_work,
    state,
    Node, //
};
use crate::{
    bindings,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    task::Task,
    tether::read_once, //
};
use core::{
    ffi::c_void,
    ptr, //
};

/// The number of cancelled works that may be linked on one target.
const LIMIT: i32 = 4096;
const BUCKETS: usize = 256;

/// The number of cancelled works on all targets of a bucket. It is negative for a moment if a
/// target passes a work before the canceller has counted it.
static COUNTS: [Atomic<i32>; BUCKETS] = [const { Atomic::new(0) }; BUCKETS];

#[inline(always)]
fn count_of(target: usize) -> &'static Atomic<i32> {
    // A task takes more than a kilobyte.
    &COUNTS[(target >> 10) % BUCKETS]
}

pub(super) fn add(target: usize) {
    count_of(target).fetch_add(1, Relaxed);
}

pub(super) fn remove(target: usize) {
    count_of(target).fetch_sub(1, Relaxed);
}

/// Whether there may be too many on `task`; if so, the caller counts them by [`is_full_on`].
#[inline(always)]
pub(super) fn may_be_full(task: &Task) -> bool {
    read_once(count_of(task.as_ptr() as usize)) >= LIMIT
}

fn is_orphan(node: &Node) -> bool {
    matches!(node.state.load().state(), state::CANCELLED | state::ORPHAN)
}

/// Whether there are too many on `task`, in its list or in a queue to it.
///
/// Must not be called with the lock of a queue held.
#[cold]
pub(super) fn is_full_on(task: &Task) -> bool {
    /// # Safety
    ///
    /// `data` must point at the count, and `head` be that of a valid [`Node`].
    unsafe extern "C" fn count(
        _task: *mut bindings::task_struct,
        head: *mut bindings::callback_head,
        data: *mut c_void,
    ) {
        // SAFETY: The head is at the beginning of a valid node by the function's contract.
        if is_orphan(unsafe { &*head.cast::<Node>() }) {
            // SAFETY: `data` points at the count by the function's contract.
            unsafe { *data.cast::<i32>() += 1 };
        }
    }

    let mut found = 0i32;
    // SAFETY: The task is valid, `count` is given the count that it expects, and works with
    // this function are nodes.
    unsafe {
        bindings::tether_for_each_work_of(
            task.as_ptr(),
            Some(run_work),
            Some(count),
            ptr::from_mut(&mut found).cast(),
        )
    };
    ordered::for_each_pending(Some(task), &mut |_, node| {
        if is_orphan(node) {
            found += 1;
        }
    });
    found >= LIMIT
}
