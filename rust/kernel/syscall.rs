// SPDX-License-Identifier: GPL-2.0

//! The system call that the current task executes.
//!
//! C header: [`include/asm-generic/syscall.h`](srctree/include/asm-generic/syscall.h)

use crate::bindings;
use core::marker::PhantomData;

/// Proof that the current task executes a system call, and runs no task works in it until the
/// handler that got this returns.
///
/// [`MiscDevice::ioctl_in_syscall`] gets one. It cannot leave the handler, nor the task:
///
/// * a task work may run in the middle of a system call that another driver handles, and so may a
///   [`release`], which is called by a task work;
/// * `read_iter` and `write_iter` may run in a task work too: io_uring retries a request in one. So
///   these do not get a context.
///
/// [`MiscDevice::ioctl_in_syscall`]: crate::misc_device::MiscDevice::ioctl_in_syscall
/// [`release`]: crate::misc_device::MiscDevice::release
///
/// # Invariants
///
/// The current task executes a system call for all of `'a`, and does not call `task_work_run()` in
/// that time.
pub struct SyscallContext<'a> {
    // It is of the current task, so it is neither `Send` nor `Sync`.
    _not_send: PhantomData<(&'a (), *mut ())>,
}

impl SyscallContext<'_> {
    /// Creates a context.
    ///
    /// # Safety
    ///
    /// The current task must execute a system call, and must not call `task_work_run()` as long as
    /// the context exists.
    pub(crate) unsafe fn new() -> Self {
        // INVARIANT: The caller guarantees both.
        Self {
            _not_send: PhantomData,
        }
    }
}

/// Returns the number of the system call that the current task executes, as its architecture
/// numbers them.
///
/// [`None`] for a task that is in an exception, or was interrupted in user mode, and for a kernel
/// thread.
///
/// # Context
///
/// Any context. In an interrupt, the result is about the interrupted task.
///
/// C: `syscall_get_nr()`.
#[doc(alias = "syscall_get_nr")]
pub fn current_number() -> Option<u32> {
    // SAFETY: The function has no requirements.
    u32::try_from(unsafe { bindings::tether_current_syscall() }).ok()
}

/// Whether the system call that the current task executes is one of a 32-bit program on a 64-bit
/// kernel. Such calls have numbers of their own.
///
/// # Context
///
/// Any context. In an interrupt, the result is about the interrupted task.
///
/// C: `in_compat_syscall()`.
#[doc(alias = "in_compat_syscall")]
pub fn current_is_compat() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { bindings::tether_in_compat_syscall() }
}
