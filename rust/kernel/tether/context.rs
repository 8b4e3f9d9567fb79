// SPDX-License-Identifier: GPL-2.0

//! The context and the state of the current task, by which the facilities decide whether to wait.

use crate::{
    bindings,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    task::Task, //
};
use core::ptr;

/// Returns whether the current context is process context.
pub(crate) fn in_task() -> bool {
    // SAFETY: `tether_in_task()` has no requirements; it reads the preemption count of this CPU.
    unsafe { bindings::tether_in_task() }
}

/// Returns whether the caller may sleep, as far as the kernel can tell. The result is false in an
/// interrupt and with interrupts disabled, for example under a spinlock that interrupts take.
pub(crate) fn may_sleep() -> bool {
    // SAFETY: `tether_may_sleep()` has no requirements; it reads the state of this CPU.
    unsafe { bindings::tether_may_sleep() }
}

/// Returns the flags of a task (`PF_*`), which may change concurrently unless the task is the
/// current task.
pub(crate) fn task_flags(task: &Task) -> u32 {
    // SAFETY: `task` is a reference to a task, so the pointer is valid. Only the task itself writes
    // its flags, and C code reads them concurrently by a plain load of the same size.
    unsafe { ptr::read_volatile(&raw const (*task.as_ptr()).flags) }
}

/// Returns whether a task is a kernel thread (`PF_KTHREAD`), which cannot be killed.
pub(crate) fn is_kernel_thread(task: &Task) -> bool {
    task_flags(task) & bindings::PF_KTHREAD != 0
}

/// Returns whether the current task is exiting, or is about to exit, and receives no more signals.
pub(crate) fn is_exiting() -> bool {
    // SAFETY: `tether_is_exiting()` has no requirements; it reads the state of the current task.
    unsafe { bindings::tether_is_exiting() }
}

/// The task that runs `open` of a misc device. There is at most one such task, because the kernel
/// holds `misc_mtx` in `open`.
pub(crate) static OPENING: Atomic<*mut bindings::task_struct> = Atomic::new(ptr::null_mut());

/// Returns whether the current task runs `open` of a misc device. The opens of all other misc
/// devices wait for this task.
pub(crate) fn is_opening() -> bool {
    // Only the task itself stores its address.
    ptr::eq(OPENING.load(Relaxed), Task::current_raw())
}

/// Returns whether the current task is a worker of a workqueue.
pub(crate) fn is_workqueue_worker() -> bool {
    // SAFETY: `tether_is_workqueue_worker()` has no requirements; it reads the flags of the current
    // task.
    unsafe { bindings::tether_is_workqueue_worker() }
}
