// SPDX-License-Identifier: GPL-2.0

#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <linux/uaccess.h>

/* What a frame pointer points at. */
struct tether_user_frame {
	unsigned long next;
	unsigned long return_address;
};

/*
 * What arch_stack_walk_user() does, which modules cannot call; but for the second entry. Returns
 * how many there are.
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
		unsigned long lowest = user_stack_pointer(regs), frame = frame_pointer(regs), top = 0;

		if (copy_from_user_nofault(&top, (void __user *)lowest, sizeof(top)))
			top = 0;
		if (count < size)
			entries[count++] = top;
		while (count < size) {
			struct tether_user_frame it;

			/* It grows down: a caller's frame is above. */
			if (frame < lowest || !IS_ALIGNED(frame, sizeof(long)))
				break;
			if (copy_from_user_nofault(&it, (void __user *)frame, sizeof(it)) || !it.return_address)
				break;
			entries[count++] = it.return_address;
			lowest = frame + sizeof(it);
			frame = it.next;
		}
	}
#endif
	return count;
}
