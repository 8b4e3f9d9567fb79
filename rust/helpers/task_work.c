// SPDX-License-Identifier: GPL-2.0

#include <linux/cache.h>
#include <linux/irqflags.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/task_work.h>
#include <linux/wait_bit.h>

/* rust/kernel/task_work/ keeps flags in the low bits of a task's address. */
static_assert(L1_CACHE_BYTES >= 64);

/*
 * Calls @seen for each task work of @task with function @func that is in the task's list.
 *
 * task_work_run() takes the whole list off the task, then passes through pi_lock, and only then
 * runs the works. While pi_lock is held, a work found in the list is neither run nor freed. The
 * node that marks a list as sealed has no function.
 */
__rust_helper void rust_helper_tether_for_each_work_of(
	struct task_struct *task, task_work_func_t func,
	void (*seen)(struct task_struct *task, struct callback_head *work, void *data),
	void *data)
{
	struct callback_head *work;

	guard(raw_spinlock_irqsave)(&task->pi_lock);
	for (work = READ_ONCE(task->task_works); work; work = READ_ONCE(work->next))
		if (work->func == func)
			seen(task, work, data);
}

/* Calls @seen for each task work with function @func that is in the list of any task. */
__rust_helper void rust_helper_tether_for_each_task_work(
	task_work_func_t func,
	void (*seen)(struct task_struct *task, struct callback_head *work, void *data),
	void *data)
{
	struct task_struct *process, *task;

	guard(rcu)();
	for_each_process_thread(process, task)
		rust_helper_tether_for_each_work_of(task, func, seen, data);
}

/*
 * The pid of the task at this address, which is only compared; 0 if there is none. @started is its
 * start_boottime, as the memory of a task may be that of another task by now; or 0, for any task.
 */
__rust_helper pid_t rust_helper_tether_pid_of(unsigned long address, u64 started)
{
	struct task_struct *process, *task;

	guard(rcu)();
	for_each_process_thread(process, task)
		if ((unsigned long)task == address &&
		    (!started || task->start_boottime == started))
			return task_pid_nr(task);
	return 0;
}

/*
 * Waits, interruptibly, until no bit of @busy is set in @word, or until the address of the current
 * task is in it, beside @flags; for @timeout ticks at most. Each change of @word that clears @busy
 * is followed by wake_up_var(). Returns the remaining time, or 1; 0 on timeout; -ERESTARTSYS.
 */
__rust_helper long rust_helper_tether_wait_word(const unsigned long *word, unsigned long busy,
						unsigned long flags, long timeout)
{
	unsigned long now;

	might_sleep();
	return ___wait_var_event((void *)word,
				 ___wait_cond_timeout((now = READ_ONCE(*word),
						       !(now & busy) ||
						       (now & ~flags) == (unsigned long)current)),
				 TASK_INTERRUPTIBLE, 0, timeout,
				 __ret = schedule_timeout(__ret));
}

__rust_helper void *rust_helper_tether_kmalloc(size_t size)
{
	return kmalloc(size, GFP_KERNEL);
}

__rust_helper unsigned long rust_helper_tether_irq_save(void)
{
	unsigned long flags;

	local_irq_save(flags);
	return flags;
}

__rust_helper void rust_helper_tether_irq_restore(unsigned long flags)
{
	local_irq_restore(flags);
}
