// SPDX-License-Identifier: GPL-2.0
/* Helpers for task works: rust/kernel/task_work.rs and rust/kernel/task_work/. */

#include <linux/cache.h>
#include <linux/irqflags.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/task_work.h>
#include <linux/wait_bit.h>

/*
 * rust/kernel/task_work/ stores flags in the low bits of the address of a task, which is aligned to
 * L1_CACHE_BYTES.
 */
static_assert(L1_CACHE_BYTES >= 64);

/**
 * rust_helper_tether_walk_works_of() - Calls a function for each queued work of a task.
 * @task: task
 * @func: function of the works; works with another function are skipped
 * @seen: function to call, with the pi_lock of @task held; it must not wake @task
 * @data: argument of @seen
 *
 * task_work_run() takes the whole list off the task, then acquires and releases pi_lock, and
 * only then runs the works. While pi_lock is held here, a work in the list is neither run nor
 * freed. The node that marks a list as sealed (work_exited) has no function, and is skipped.
 *
 * Context: Any context but NMI. The caller must not hold a pi_lock.
 */
__rust_helper void
rust_helper_tether_walk_works_of(struct task_struct *task, task_work_func_t func,
				 void (*seen)(struct task_struct *task,
					      struct callback_head *work, void *data),
				 void *data)
{
	struct callback_head *work;

	guard(raw_spinlock_irqsave)(&task->pi_lock);
	for (work = READ_ONCE(task->task_works); work; work = READ_ONCE(work->next))
		if (work->func == func)
			seen(task, work, data);
}

/**
 * rust_helper_tether_walk_task_works() - Calls a function for each queued work of all tasks.
 * @func: as for rust_helper_tether_walk_works_of()
 * @seen: as for rust_helper_tether_walk_works_of()
 * @data: argument of @seen
 */
__rust_helper void
rust_helper_tether_walk_task_works(task_work_func_t func,
				   void (*seen)(struct task_struct *task,
						struct callback_head *work, void *data),
				   void *data)
{
	struct task_struct *process, *task;

	guard(rcu)();
	for_each_process_thread(process, task)
		rust_helper_tether_walk_works_of(task, func, seen, data);
}

/**
 * rust_helper_tether_pid_of() - Returns the pid of the task at an address.
 * @address: address of a task, which is compared and not dereferenced
 * @started: start_boottime of the task, or 0 for any task
 *
 * The memory of a task may belong to another task by now. @started tells these apart.
 *
 * Return: the pid in the initial namespace, or 0 if there is no such task.
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
 * rust_helper_tether_threads_of() - Collects the threads of a process.
 * @thread: any thread of the process
 * @threads: set to the threads, with a reference to each
 * @max: size of @threads
 *
 * Threads that have begun to exit are left out.
 *
 * Return: the number of threads. If this is more than @max, the first @max threads were stored.
 */
__rust_helper size_t rust_helper_tether_threads_of(struct task_struct *thread,
						   struct task_struct **threads, size_t max)
{
	struct task_struct *task;
	size_t count = 0;

	guard(rcu)();
	for_each_thread(thread, task) {
		if (READ_ONCE(task->flags) & PF_EXITING)
			continue;
		if (count < max)
			threads[count] = get_task_struct(task);
		count++;
	}
	return count;
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
