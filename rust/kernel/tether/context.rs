// SPDX-License-Identifier: GPL-2.0

//! The context and the state of the current task, which decide whether a call may wait.

use crate::{
    bindings,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    task::Task, //
};
use core::ptr;

/// Whether the current context is that of a task, and not that of an interrupt.
pub(crate) fn in_task() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { bindings::tether_in_task() }
}

/// Whether the current context may sleep, as far as the kernel can tell: not in an interrupt, nor
/// with interrupts disabled, as under a spinlock that interrupts take as well.
pub(crate) fn may_sleep() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { bindings::tether_may_sleep() }
}

/// Returns the flags of a task (`PF_*`), which may change at any time unless the task is the current
/// one.
pub(crate) fn task_flags(task: &Task) -> u32 {
    // SAFETY: `task` is a valid task; C reads its flags in the same way.
    unsafe { ptr::read_volatile(&raw const (*task.as_ptr()).flags) }
}

/// Whether a task is a kernel thread (`PF_KTHREAD`), which cannot be killed.
pub(crate) fn is_kernel_thread(task: &Task) -> bool {
    task_flags(task) & bindings::PF_KTHREAD != 0
}

/// Whether the current task is in its exit, or on its way there, and gets no signals any more.
pub(crate) fn is_exiting() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { bindings::tether_is_exiting() }
}

/// The task that is in `open` of a misc device. There is at most one, as the kernel holds
/// `misc_mtx`.
pub(crate) static OPENING: Atomic<*mut bindings::task_struct> = Atomic::new(ptr::null_mut());

/// Whether the current task is in `open` of a misc device. The opens of all misc devices of the
/// machine wait for it.
pub(crate) fn is_opening() -> bool {
    // Only the task itself stores its address.
    ptr::eq(OPENING.load(Relaxed), Task::current_raw())
}

/// Whether the current task is a worker of a workqueue.
pub(crate) fn is_workqueue_worker() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { bindings::tether_is_workqueue_worker() }
}
