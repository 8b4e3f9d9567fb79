// SPDX-License-Identifier: GPL-2.0

#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>

/* Whether @task is being killed, or is in its exit. */
__rust_helper bool rust_helper_tether_is_ending(struct task_struct *task)
{
	return READ_ONCE(task->flags) & PF_EXITING ||
	       READ_ONCE(task->signal->flags) & SIGNAL_GROUP_EXIT ||
	       sigismember(&task->pending.signal, SIGKILL);
}

/*
 * Whether the current task gets no signals any more: it is in its exit, or on its way there. From
 * the moment that it has taken its fatal signal, a further SIGKILL is dropped.
 */
__rust_helper bool rust_helper_tether_is_exiting(void)
{
	return current->flags & PF_EXITING ||
	       (READ_ONCE(current->signal->flags) & SIGNAL_GROUP_EXIT &&
		!fatal_signal_pending(current));
}

/*
 * Lets a SIGKILL that the kernel sends to this kernel thread end its waits for pages of user
 * memory. It does not end the thread.
 */
__rust_helper void rust_helper_tether_allow_kill(void)
{
	allow_kernel_signal(SIGKILL);
}

/* Takes that signal back. */
__rust_helper void rust_helper_tether_clear_kill(void)
{
	if (!sigismember(&current->pending.signal, SIGKILL))
		return;
	spin_lock_irq(&current->sighand->siglock);
	sigdelset(&current->pending.signal, SIGKILL);
	recalc_sigpending();
	spin_unlock_irq(&current->sighand->siglock);
}

/*
 * Whether the current task is a worker of a workqueue: it gets no signals, and others wait for what
 * is queued to it.
 */
__rust_helper bool rust_helper_tether_is_workqueue_worker(void)
{
	return current->flags & PF_WQ_WORKER;
}
