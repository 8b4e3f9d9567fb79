// SPDX-License-Identifier: GPL-2.0

//! Which system call is being done.
//!
//! C header: [`include/asm-generic/syscall.h`](srctree/include/asm-generic/syscall.h)

use crate::bindings;

/// The number of the system call that the current task is in, as its architecture has it.
///
/// [`None`] in an exception, an interrupt, or a kernel thread. May be called in any context of a task; in
/// an interrupt it is about the task that was interrupted.
///
/// C: `syscall_get_nr()`.
#[doc(alias = "syscall_get_nr")]
pub fn current_number() -> Option<u32> {
    // SAFETY: The function has no requirements.
    u32::try_from(unsafe { bindings::tether_current_syscall() }).ok()
}
