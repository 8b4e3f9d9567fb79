// SPDX-License-Identifier: GPL-2.0

#include <linux/kthread.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

__rust_helper void rust_helper_set_current_state(unsigned int state)
{
	set_current_state(state);
}

/*
 * What kthread_stop() does to make a thread look up, without KTHREAD_SHOULD_STOP, which is
 * private to kernel/kthread.c, and without waiting.
 */
__rust_helper void rust_helper_tether_kthread_interrupt(struct task_struct *task)
{
	set_tsk_thread_flag(task, TIF_NOTIFY_SIGNAL);
	wake_up_process(task);
}
