// SPDX-License-Identifier: GPL-2.0
/* Helpers for task works: rust/kernel/task_work.rs and rust/kernel/task_work/. */

#include <linux/cache.h>
#include <linux/irqflags.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/wait_bit.h>

/*
 * rust/kernel/task_work/ stores flags in the low bits of the address of a task, which is aligned to
 * L1_CACHE_BYTES.
 */
static_assert(L1_CACHE_BYTES >= 64);

/**
 * rust_helper_tether_walk_tasks() - Calls a function for each thread of all processes.
 * @func: function, called in an RCU read-side critical section; a result other than 0 ends the walk
 * @data: argument of @func
 *
 * The loop is in C, because for_each_process_thread() is a macro.
 */
__rust_helper void
rust_helper_tether_walk_tasks(int (*func)(struct task_struct *task, void *data), void *data)
{
	struct task_struct *process, *task;

	guard(rcu)();
	for_each_process_thread(process, task)
		if (func(task, data))
			return;
}

/**
 * rust_helper_tether_walk_threads() - Calls a function for each thread of a process.
 * @thread: any thread of the process
 * @func: as for rust_helper_tether_walk_tasks()
 * @data: argument of @func
 *
 * The loop is in C, because for_each_thread() is a macro.
 */
__rust_helper void
rust_helper_tether_walk_threads(struct task_struct *thread,
				int (*func)(struct task_struct *task, void *data), void *data)
{
	struct task_struct *task;

	guard(rcu)();
	for_each_thread(thread, task)
		if (func(task, data))
			return;
}

/**
 * rust_helper_tether_wait_word() - Waits until an item is neither pending nor running.
 * @word: state of a node: the target task and flags
 * @busy: flags that mean pending or running
 * @flags: all flags in @word
 * @state: state in which the task sleeps (TASK_INTERRUPTIBLE, for example)
 * @timeout: limit in jiffies
 *
 * ___wait_var_event() is a macro. The sleep ends when no flag of @busy is set, or when the current
 * task has become the target. A task that clears flags of @busy calls wake_up_var() on @word
 * afterwards.
 *
 * Return: the remaining time, at least 1; 0 if the limit has passed; -ERESTARTSYS if a signal that
 * ends the sleep is pending.
 */
__rust_helper long rust_helper_tether_wait_word(const unsigned long *word, unsigned long busy,
						unsigned long flags, unsigned int state,
						long timeout)
{
	unsigned long now;

	might_sleep();
	return ___wait_var_event((void *)word,
				 ___wait_cond_timeout((now = READ_ONCE(*word),
						       !(now & busy) ||
						       (now & ~flags) == (unsigned long)current)),
				 state, 0, timeout,
				 __ret = schedule_timeout(__ret));
}

/**
 * rust_helper_tether_kmalloc() - Allocates memory with GFP_KERNEL.
 * @size: number of bytes
 *
 * Wraps kmalloc(), which is a macro. KBox allocates by krealloc(), which takes twice as long.
 *
 * Return: the memory, or NULL.
 */
__rust_helper void *rust_helper_tether_kmalloc(size_t size)
{
	return kmalloc(size, GFP_KERNEL);
}

/**
 * rust_helper_tether_irq_save() - Disables interrupts on this CPU.
 *
 * Wraps local_irq_save(), which is a macro.
 *
 * Return: the flags of the interrupts, for rust_helper_tether_irq_restore().
 */
__rust_helper unsigned long rust_helper_tether_irq_save(void)
{
	unsigned long flags;

	local_irq_save(flags);
	return flags;
}

/**
 * rust_helper_tether_irq_restore() - Restores the interrupts of this CPU.
 * @flags: interrupt flags, as they were saved
 *
 * Wraps local_irq_restore(), which is a macro.
 */
__rust_helper void rust_helper_tether_irq_restore(unsigned long flags)
{
	local_irq_restore(flags);
}
