// SPDX-License-Identifier: GPL-2.0
/* Helpers for the user registers of the current task: rust/kernel/user_stack.rs. */

#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>

/**
 * rust_helper_task_pt_regs() - Returns the user registers of a task.
 * @task: task of a user, which is the current task or does not run
 *
 * Wraps task_pt_regs(), which is a macro.
 *
 * Return: the registers at the entry of the task into the kernel.
 */
__rust_helper struct pt_regs *rust_helper_task_pt_regs(struct task_struct *task)
{
	return task_pt_regs(task);
}

/**
 * rust_helper_instruction_pointer() - Returns the address of the instruction.
 * @regs: registers
 *
 * Wraps instruction_pointer(), which is inline or a macro.
 *
 * Return: the address.
 */
__rust_helper unsigned long rust_helper_instruction_pointer(struct pt_regs *regs)
{
	return instruction_pointer(regs);
}

#if defined(CONFIG_X86_64) && !defined(CONFIG_UML)
/**
 * rust_helper_user_64bit_mode() - Tests whether registers are those of a 64-bit program.
 * @regs: user registers
 *
 * Wraps user_64bit_mode(), which is inline.
 *
 * Return: true if @regs are those of a 64-bit program.
 */
__rust_helper bool rust_helper_user_64bit_mode(struct pt_regs *regs)
{
	return user_64bit_mode(regs);
}

/**
 * rust_helper_user_stack_pointer() - Returns the stack pointer.
 * @regs: user registers
 *
 * Wraps user_stack_pointer(), which is inline or a macro.
 *
 * Return: the stack pointer.
 */
__rust_helper unsigned long rust_helper_user_stack_pointer(struct pt_regs *regs)
{
	return user_stack_pointer(regs);
}

/**
 * rust_helper_frame_pointer() - Returns the frame pointer.
 * @regs: registers
 *
 * Wraps frame_pointer(), which is inline or a macro.
 *
 * Return: the frame pointer.
 */
__rust_helper unsigned long rust_helper_frame_pointer(struct pt_regs *regs)
{
	return frame_pointer(regs);
}
#endif
