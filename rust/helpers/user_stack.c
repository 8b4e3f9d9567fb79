// SPDX-License-Identifier: GPL-2.0
/* Helper for the user stack of the current task: rust/kernel/user_stack.rs. */

#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <linux/uaccess.h>

/* The memory at the address in a frame pointer. */
struct tether_user_frame {
	unsigned long next;
	unsigned long return_address;
};

/**
 * rust_helper_tether_save_user_stack() - Saves the return addresses on the user stack of the
 * current task.
 * @entries: destination
 * @size: number of entries that fit
 *
 * The first entry is the instruction pointer. For a 64-bit program on x86-64, the second entry is
 * the word at the stack pointer, which is the return address if the function has no frame yet, and
 * the frames follow. The memory is read without page faults. arch_stack_walk_user() has no such
 * second entry, and is not exported to modules.
 *
 * Return: the number of entries.
 */
__rust_helper unsigned int rust_helper_tether_save_user_stack(u64 *entries, unsigned int size)
{
	unsigned int count = 0;
	struct pt_regs *regs;

	if (!current->mm || current->flags & (PF_KTHREAD | PF_USER_WORKER))
		return 0;
	regs = task_pt_regs(current);
	if (count < size)
		entries[count++] = instruction_pointer(regs);
#if defined(CONFIG_X86_64) && !defined(CONFIG_UML)
	if (user_64bit_mode(regs)) {
		unsigned long lowest = user_stack_pointer(regs);
		unsigned long frame = frame_pointer(regs), top = 0;

		if (copy_from_user_nofault(&top, (void __user *)lowest, sizeof(top)))
			top = 0;
		if (count < size)
			entries[count++] = top;
		while (count < size) {
			struct tether_user_frame it;

			/* The stack grows down: the frame of a caller has a higher address. */
			if (frame < lowest || !IS_ALIGNED(frame, sizeof(long)))
				break;
			if (copy_from_user_nofault(&it, (void __user *)frame, sizeof(it)) ||
			    !it.return_address)
				break;
			entries[count++] = it.return_address;
			lowest = frame + sizeof(it);
			frame = it.next;
		}
	}
#endif
	return count;
}
