// SPDX-License-Identifier: GPL-2.0

#include <linux/compat.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <asm/syscall.h>

/* The system call that the current task is in, or something negative. */
__rust_helper int rust_helper_tether_current_syscall(void)
{
	/* They have no registers of user space, or those that they were made with. */
	if (current->flags & (PF_KTHREAD | PF_USER_WORKER))
		return -1;
	return syscall_get_nr(current, task_pt_regs(current));
}

/*
 * Whether the current task is in a system call of a 32-bit program, which has numbers of its own.
 */
__rust_helper bool rust_helper_tether_in_compat_syscall(void)
{
	return in_compat_syscall();
}
