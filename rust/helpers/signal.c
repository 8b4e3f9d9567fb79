// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers for signals and the exit of tasks: rust/kernel/tether/context.rs,
 * rust/kernel/task_work/add.rs and teardown.rs, rust/kernel/kthread/context.rs and completion.rs,
 * and rust/kernel/mm/space/wait_limit.rs.
 */

#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>

/**
 * rust_helper_tether_is_ending() - Tests whether a task is being killed or is in its exit.
 * @task: task
 *
 * One call serves the path that adds a task work to another task.
 *
 * Return: true if a task is being killed or is in its exit.
 */
__rust_helper bool rust_helper_tether_is_ending(struct task_struct *task)
{
	return READ_ONCE(task->flags) & PF_EXITING ||
	       READ_ONCE(task->signal->flags) & SIGNAL_GROUP_EXIT ||
	       sigismember(&task->pending.signal, SIGKILL);
}

/**
 * rust_helper_test_tsk_thread_flag() - Tests a flag of a task.
 * @task: task
 * @flag: number of the flag (TIF_*)
 *
 * Wraps test_tsk_thread_flag(), which is inline.
 *
 * Return: true if the flag is set.
 */
__rust_helper bool rust_helper_test_tsk_thread_flag(struct task_struct *task, int flag)
{
	return test_tsk_thread_flag(task, flag);
}

/**
 * rust_helper_tether_is_exiting() - Tests whether the current task gets no signals any more.
 *
 * This is true in the exit of the task, and on its way there: after a task has taken its fatal
 * signal, the kernel drops a further SIGKILL. fatal_signal_pending() is inline, and one call serves
 * each wait.
 *
 * Return: true if the current task gets no signals any more.
 */
__rust_helper bool rust_helper_tether_is_exiting(void)
{
	return current->flags & PF_EXITING ||
	       (READ_ONCE(current->signal->flags) & SIGNAL_GROUP_EXIT &&
		!fatal_signal_pending(current));
}

/**
 * rust_helper_tether_allow_kill() - Lets SIGKILL end waits of the current kernel thread for
 * pages of user memory.
 *
 * Wraps allow_kernel_signal(), which is inline. Only the kernel can send the signal, and the
 * signal does not end the thread.
 */
__rust_helper void rust_helper_tether_allow_kill(void)
{
	allow_kernel_signal(SIGKILL);
}

/**
 * rust_helper_tether_clear_kill() - Removes a pending SIGKILL from the current kernel thread.
 *
 * Undoes the effect of a signal that was sent after rust_helper_tether_allow_kill(). The kernel
 * has no function for this.
 */
__rust_helper void rust_helper_tether_clear_kill(void)
{
	if (!sigismember(&current->pending.signal, SIGKILL))
		return;
	spin_lock_irq(&current->sighand->siglock);
	sigdelset(&current->pending.signal, SIGKILL);
	recalc_sigpending();
	spin_unlock_irq(&current->sighand->siglock);
}

/**
 * rust_helper_fatal_signal_pending() - Tests whether a task is being killed.
 * @task: task
 *
 * Wraps fatal_signal_pending(), which is inline.
 *
 * Return: true if @task is being killed.
 */
__rust_helper int rust_helper_fatal_signal_pending(struct task_struct *task)
{
	return fatal_signal_pending(task);
}
