// SPDX-License-Identifier: GPL-2.0

//! The system call that the current task executes.
//!
//! C header: [`include/asm-generic/syscall.h`](srctree/include/asm-generic/syscall.h)

use crate::{
    bindings,
    tether::task_flags, //
};
use core::marker::PhantomData;

/// Proof that the current task executes a system call and runs no task works before the handler
/// that has received this context returns.
///
/// [`MiscDevice::ioctl_in_syscall`] receives a context. The context cannot leave the handler or the
/// task. The following functions do not receive a context:
///
/// * task works, and [`release`], which is called by a task work: both may run in the middle of a
///   system call that another driver handles;
/// * `read_iter` and `write_iter`: they may run in a task work too, when io_uring retries a
///   request.
///
/// [`MiscDevice::ioctl_in_syscall`]: crate::misc_device::MiscDevice::ioctl_in_syscall
/// [`release`]: crate::misc_device::MiscDevice::release
///
/// # Invariants
///
/// The current task executes a system call during `'a`, and does not call `task_work_run()` during
/// that time.
pub struct SyscallContext<'a> {
    // The context belongs to the current task, so that it is neither `Send` nor `Sync`.
    _not_send: PhantomData<(&'a (), *mut ())>,
}

impl SyscallContext<'_> {
    /// Creates a context.
    ///
    /// # Safety
    ///
    /// The current task must execute a system call, and must not call `task_work_run()` while the
    /// context exists.
    pub unsafe fn new() -> Self {
        // INVARIANT: By the function's contract the current task executes a system call, and does
        // not call `task_work_run()` while the context exists.
        Self {
            _not_send: PhantomData,
        }
    }
}

/// Returns the number of the system call that the current task executes, according to its
/// architecture.
///
/// Returns [`None`] if the task is in an exception or was interrupted in user mode, and for a
/// kernel thread.
///
/// # Context
///
/// Any context. In an interrupt, the result is about the interrupted task.
///
/// C: `syscall_get_nr()`.
#[doc(alias = "syscall_get_nr")]
pub fn current_number() -> Option<u32> {
    let flags = task_flags(crate::current!());
    // Kernel threads have no user registers. User workers, such as those of io_uring, have the
    // registers that they were created with.
    if flags & (bindings::PF_KTHREAD | bindings::PF_USER_WORKER) != 0 {
        return None;
    }
    // SAFETY: `tether_current_syscall()` requires a task with user registers, which the current
    // task has: it is neither a kernel thread nor a user worker.
    u32::try_from(unsafe { bindings::tether_current_syscall() }).ok()
}

/// Returns whether the current task executes a system call of a 32-bit program on a 64-bit kernel.
/// Such system calls have a separate numbering.
///
/// # Context
///
/// Any context. In an interrupt, the result is about the interrupted task.
///
/// C: `in_compat_syscall()`.
#[doc(alias = "in_compat_syscall")]
pub fn current_is_compat() -> bool {
    // SAFETY: The helper has no requirements; it reads the state of the current task.
    unsafe { bindings::tether_in_compat_syscall() }
}
