// SPDX-License-Identifier: GPL-2.0

//! The user stack of the current task.
//!
//! C header: [`include/linux/stacktrace.h`](srctree/include/linux/stacktrace.h)

use crate::bindings;

/// Saves the user stack of the current task at its entry into the kernel, and returns the number of
/// addresses. The rest of `entries` is not changed.
///
/// The first address is that of the instruction. The second address is the word on top of the
/// stack. It is the return address if the function has no frame, which is usual for functions that
/// make system calls. The others are the return addresses that are found through the frame
/// pointers, up to the first invalid frame. If the program was compiled without frame pointers,
/// they are not reliable. On architectures other than x86-64, and for a 32-bit program, only the
/// first address is saved.
///
/// Returns 0 for a task without an address space of its own.
///
/// # Context
///
/// Any context, with any lock held. Does not sleep; pages that are not resident are not faulted in.
/// In an interrupt, the result refers to the interrupted task.
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
    // SAFETY: The helper requires a buffer that is valid for writes of the given number of entries.
    // `entries` is a mutable slice of this length.
    unsafe { bindings::tether_save_user_stack(entries.as_mut_ptr(), size) as usize }
}
