// SPDX-License-Identifier: GPL-2.0
/* Helpers for the system call of the current task: rust/kernel/syscall.rs. */

#include <linux/compat.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <asm/syscall.h>

/**
 * rust_helper_tether_current_syscall() - Returns the number of the system call that the current
 * task executes.
 *
 * Wraps syscall_get_nr(), which is inline.
 *
 * Context: A task with user registers.
 *
 * Return: the number, or a negative value if the task is in no system call.
 */
__rust_helper int rust_helper_tether_current_syscall(void)
{
	return syscall_get_nr(current, task_pt_regs(current));
}

/**
 * rust_helper_tether_in_compat_syscall() - Tests whether the current task is in a system call of
 * a 32-bit program.
 *
 * Wraps in_compat_syscall(), which is inline. Such system calls have their own numbers.
 *
 * Return: true if the current task is in a system call of a 32-bit program.
 */
__rust_helper bool rust_helper_tether_in_compat_syscall(void)
{
	return in_compat_syscall();
}
