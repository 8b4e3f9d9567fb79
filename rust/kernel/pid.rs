// SPDX-License-Identifier: GPL-2.0

//! Finding tasks by their number.
//!
//! C header: [`include/linux/pid.h`](srctree/include/linux/pid.h)

use crate::{
    bindings,
    sync::{
        aref::ARef,
        rcu, //
    },
    task::{
        Pid,
        Task, //
    }, //
};
use core::ptr::NonNull;

/// Finds the thread that the current task knows as `pid`.
///
/// It may be another one's that has got the same number when this returns; or none.
///
/// ```
/// use kernel::{
///     pid,
///     prelude::*, //
/// };
///
/// // In the machine's first pid namespace, which this runs in, there is always init.
/// assert!(pid::find_task(1).is_some());
/// assert!(pid::find_task(-1).is_none());
/// ```
#[doc(alias = "find_get_task_by_vpid")]
pub fn find_task(pid: Pid) -> Option<ARef<Task>> {
    let _guard = rcu::read_lock();
    // SAFETY: An RCU read lock is held.
    let pid = unsafe { bindings::find_vpid(pid) };
    // SAFETY: The pid is null, which is allowed, or valid while the RCU read lock is held.
    let task = unsafe { bindings::get_pid_task(pid, bindings::pid_type_PIDTYPE_PID) };
    // SAFETY: `get_pid_task` has taken a reference, which is ours. `Task` is transparent.
    NonNull::new(task).map(|task| unsafe { ARef::from_raw(task.cast()) })
}
