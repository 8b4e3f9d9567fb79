// SPDX-License-Identifier: GPL-2.0

#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/task_work.h>
#include <linux/wait_bit.h>

/*
 * Calls @seen for each task work with function @func that waits on a task.
 *
 * task_work_run() takes the whole list off the task, then passes through pi_lock, and only then
 * runs it. So while we hold that lock, what we found on the list is neither run nor freed. The
 * node that marks a list as sealed has no function.
 */
__rust_helper void rust_helper_tether_for_each_task_work(
	task_work_func_t func,
	void (*seen)(struct task_struct *task, struct callback_head *work, void *data),
	void *data)
{
	struct task_struct *process, *task;
	struct callback_head *work;

	guard(rcu)();
	for_each_process_thread(process, task) {
		guard(raw_spinlock_irqsave)(&task->pi_lock);
		for (work = READ_ONCE(task->task_works); work; work = READ_ONCE(work->next))
			if (work->func == func)
				seen(task, work, data);
	}
}

/*
 * Waits, interruptibly, until @state has none of @bits, for @timeout ticks at most. Who changes it
 * calls wake_up_var() on it. Returns what is left of the time, or 1; 0 if it is over; -ERESTARTSYS.
 */
__rust_helper long rust_helper_tether_wait_not(const unsigned int *state, unsigned int bits,
					       long timeout)
{
	might_sleep();
	return ___wait_var_event((void *)state,
				 ___wait_cond_timeout(!(READ_ONCE(*state) & bits)),
				 TASK_INTERRUPTIBLE, 0, timeout,
				 __ret = schedule_timeout(__ret));
}
