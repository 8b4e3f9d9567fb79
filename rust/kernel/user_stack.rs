// SPDX-License-Identifier: GPL-2.0

//! The user stack of the current task.
//!
//! C header: [`include/linux/stacktrace.h`](srctree/include/linux/stacktrace.h)

use crate::{
    bindings,
    prelude::*,
    tether::task_flags, //
};

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
    let current = crate::current!();
    // SAFETY: The task is valid. Only the current task changes this field.
    let mm = unsafe { (*current.as_ptr()).mm };
    if mm.is_null() || task_flags(current) & (bindings::PF_KTHREAD | bindings::PF_USER_WORKER) != 0
    {
        return 0;
    }
    let mut count = 0;
    // Saves an address. Returns whether there is space for another one.
    let save = |address: usize| {
        if let Some(entry) = entries.get_mut(count) {
            *entry = address as u64;
            count += 1;
        }
        count < entries.len()
    };
    // SAFETY: `task_pt_regs()` requires a task with user registers. The current task has an address
    // space and is neither a kernel thread nor a user worker.
    let regs = unsafe { bindings::task_pt_regs(current.as_ptr()) };
    // SAFETY: `save_from()` requires the user registers of the current task, which these are.
    unsafe { save_from(regs, save) };
    count
}

/// Calls `save` for each address, until `save` returns false.
///
/// # Safety
///
/// `regs` must be the user registers of the current task.
unsafe fn save_from(regs: *mut bindings::pt_regs, mut save: impl FnMut(usize) -> bool) {
    // SAFETY: `instruction_pointer()` requires valid registers, which is in the function's
    // contract.
    let wants_more = save(unsafe { bindings::instruction_pointer(regs) });
    #[cfg(all(CONFIG_X86_64, not(CONFIG_UML)))]
    // SAFETY: `user_64bit_mode()` requires valid user registers, which is in the function's
    // contract.
    if wants_more && unsafe { bindings::user_64bit_mode(regs) } {
        // SAFETY: `user_stack_pointer()` and `frame_pointer()` require valid user registers, which
        // is in the function's contract.
        let (stack, frame) = unsafe {
            (
                bindings::user_stack_pointer(regs),
                bindings::frame_pointer(regs),
            )
        };
        save_frames(stack, frame, save);
    }
    #[cfg(not(all(CONFIG_X86_64, not(CONFIG_UML))))]
    let _ = wants_more;
}

/// Calls `save` for the word on top of the stack and for each return address of a frame, until
/// `save` returns false.
#[cfg(all(CONFIG_X86_64, not(CONFIG_UML)))]
fn save_frames(mut lowest: usize, mut frame: usize, mut save: impl FnMut(usize) -> bool) {
    let [top] = read(lowest).unwrap_or([0]);
    if !save(top) {
        return;
    }
    // The stack grows down: the frame of a caller has a higher address.
    while frame >= lowest && frame % size_of::<usize>() == 0 {
        // A frame begins with the frame pointer of the caller and the return address.
        let Some([next, return_address]) = read(frame) else {
            return;
        };
        if return_address == 0 || !save(return_address) {
            return;
        }
        lowest = frame.wrapping_add(size_of::<[usize; 2]>());
        frame = next;
    }
}

/// Reads words from user memory without page faults.
#[cfg(all(CONFIG_X86_64, not(CONFIG_UML)))]
fn read<const N: usize>(address: usize) -> Option<[usize; N]> {
    let mut words = [0; N];
    // SAFETY: `copy_from_user_nofault()` requires a destination of the given size, which `words`
    // is, and accepts any user address.
    let error = unsafe {
        bindings::copy_from_user_nofault(
            words.as_mut_ptr().cast(),
            address as *const c_void,
            size_of_val(&words),
        )
    };
    (error == 0).then_some(words)
}
