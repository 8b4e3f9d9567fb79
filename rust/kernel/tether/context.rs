// SPDX-License-Identifier: GPL-2.0

//! The context and the state of the current task, by which the facilities decide whether to wait.

use crate::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        SetOnce, //
    },
    task::Task, //
};
use core::ptr;

/// Returns whether the current context is process context.
pub(crate) fn in_task() -> bool {
    // SAFETY: `tether_in_task()` has no requirements; it reads the preemption count of this CPU.
    unsafe { bindings::tether_in_task() }
}

/// Returns whether the caller may take a lock that is not taken in interrupts, as far as the kernel
/// can tell: it is in process context, and interrupts are enabled.
pub(crate) fn may_lock() -> bool {
    // SAFETY: `tether_may_lock()` has no requirements; it reads the state of this CPU.
    unsafe { bindings::tether_may_lock() }
}

/// Returns whether the caller may sleep, as far as the kernel can tell. The result is false in an
/// interrupt, with interrupts disabled, for example under a spinlock that interrupts take, and
/// while page faults are disabled, as in a closure that has a shadow locked.
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

/// Returns whether the current task is a kernel thread.
pub(crate) fn current_is_kernel_thread() -> bool {
    is_kernel_thread(crate::current!())
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

/// The functions of the kernel threads that Tether interrupts when they are requested to stop.
static THREAD_FUNCTIONS: [SetOnce<usize>; 2] = [const { SetOnce::new() }; 2];

/// Registers the function of kernel threads that are interrupted when they are requested to stop,
/// while Tether is initialised.
///
/// # Errors
///
/// [`ENOSPC`] if there are too many functions.
pub(crate) fn register_thread_function(function: usize) -> Result {
    if THREAD_FUNCTIONS
        .iter()
        .any(|place| place.populate(function))
    {
        Ok(())
    } else {
        Err(ENOSPC)
    }
}

/// Returns whether the current task is a kernel thread that Tether has not created, and that no
/// signal or stop request interrupts: a worker of a workqueue, for example, or a thread of the
/// kernel's own.
pub(crate) fn is_foreign_kernel_thread() -> bool {
    if !current_is_kernel_thread() {
        return false;
    }
    // SAFETY: `kthread_func()` requires a valid task, which the current task is.
    let function = unsafe { bindings::kthread_func(Task::current_raw()) } as usize;
    !THREAD_FUNCTIONS
        .iter()
        .any(|place| place.copy() == Some(function))
}
