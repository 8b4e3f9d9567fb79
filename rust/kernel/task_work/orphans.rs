// SPDX-License-Identifier: GPL-2.0

//! The limit on the number of cancelled works that stay linked on one target.
//!
//! The memory of a cancelled closure is not freed before the target reaches its node, and a
//! cancelled `Arc` is not released before. A target may be stopped for an unlimited time, so that
//! adding and cancelling in a loop would use up memory.

use super::{
    ordered,
    state,
    tasks::for_each_work_of,
    walk::node_of_work,
    Node, //
};
use crate::{
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    task::Task,
    tether::read_once, //
};

/// The number of cancelled works that may be linked on one target.
const LIMIT: i32 = 4096;
const BUCKETS: usize = 256;

/// The number of cancelled works on all targets of a bucket. It may be negative for a short time,
/// if a target reaches a work before the cancelling thread has counted it.
static COUNTS: [Atomic<i32>; BUCKETS] = [const { Atomic::new(0) }; BUCKETS];

#[inline(always)]
fn count_of(target: usize) -> &'static Atomic<i32> {
    // A `task_struct` is larger than a kilobyte.
    &COUNTS[(target >> 10) % BUCKETS]
}

pub(super) fn add(target: usize) {
    count_of(target).fetch_add(1, Relaxed);
}

pub(super) fn remove(target: usize) {
    count_of(target).fetch_sub(1, Relaxed);
}

/// Returns whether `task` may have reached the limit. If so, the caller counts its works by
/// [`is_full_on`].
#[inline(always)]
pub(super) fn may_be_full(task: &Task) -> bool {
    read_once(count_of(task.as_ptr() as usize)) >= LIMIT
}

fn is_orphan(node: &Node) -> bool {
    matches!(node.state.load().state(), state::CANCELLED | state::ORPHAN)
}

/// Returns whether `task` has reached the limit, counting its list and the queues to it.
///
/// Must not be called with the lock of a queue held.
#[cold]
pub(super) fn is_full_on(task: &Task) -> bool {
    let mut found = 0i32;
    for_each_work_of(task, |work| {
        if node_of_work(work).is_some_and(is_orphan) {
            found += 1;
        }
    });
    ordered::for_each_pending(Some(task), &mut |_, node| {
        if is_orphan(node) {
            found += 1;
        }
    });
    found >= LIMIT
}
