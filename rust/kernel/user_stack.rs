// SPDX-License-Identifier: GPL-2.0

//! Where a task is in its program.
//!
//! C header: [`include/linux/stacktrace.h`](srctree/include/linux/stacktrace.h)

use crate::bindings;

/// Saves where the current task has entered the kernel, and how it got there, and returns how many addresses
/// that are; the rest of `entries` is not touched.
///
/// The first one is where it was. The second one is the word on top of its stack: the return address, if the
/// function there has no frame, as those that make system calls have none. The others are the return
/// addresses that frame pointers lead to, up to the first that leads nowhere; where a program was compiled
/// without frame pointers they are not to be trusted. On architectures other than x86-64, and for a program
/// of 32 bits, there is only the first one.
///
/// 0 for a task without an address space of its own. May be called in any context of a task, with any
/// lock: what is not in memory is not waited for.
///
/// C: `stack_trace_save_user()` in [`kernel/stacktrace.c`](srctree/kernel/stacktrace.c), which modules cannot call.
///
/// ```
/// use kernel::user_stack;
///
/// // This runs in a kernel thread.
/// let mut entries = [0; 4];
/// assert_eq!(user_stack::save(&mut entries), 0);
/// assert_eq!(entries, [0; 4]);
/// ```
#[doc(alias = "stack_trace_save_user")]
pub fn save(entries: &mut [u64]) -> usize {
    let size = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    // SAFETY: The entries are valid for so many writes.
    unsafe { bindings::tether_save_user_stack(entries.as_mut_ptr(), size) as usize }
}
