// SPDX-License-Identifier: GPL-2.0

//! The user stack of the current task.
//!
//! C header: [`include/linux/stacktrace.h`](srctree/include/linux/stacktrace.h)

use crate::bindings;

/// Saves the user stack of the current task at its entry into the kernel, and returns the number of
/// addresses; the rest of `entries` is not changed.
///
/// The first address is that of the instruction. The second one is the word on top of the stack:
/// the return address, if the function has no frame, as functions that make system calls have none.
/// The others are the return addresses that the frame pointers lead to, up to the first invalid
/// frame. They cannot be trusted if the program was compiled without frame pointers. On
/// architectures other than x86-64, and for a 32-bit program, there is only the first address.
///
/// Returns 0 for a task without an address space of its own.
///
/// # Context
///
/// Any context, with any lock held; it does not sleep, and pages that are not resident are not
/// faulted in. In an interrupt, the result is about the interrupted task.
///
/// C: `stack_trace_save_user()` in [`kernel/stacktrace.c`](srctree/kernel/stacktrace.c), which
/// modules cannot call.
///
/// # Examples
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
