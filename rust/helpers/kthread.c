// SPDX-License-Identifier: GPL-2.0
/* Helpers for kernel threads and workers: rust/kernel/kthread.rs and rust/kernel/kthread/. */

#include <linux/cleanup.h>
#include <linux/cpumask.h>
#include <linux/freezer.h>
#include <linux/kthread.h>
#include <linux/nodemask.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/topology.h>
#include <uapi/linux/sched/types.h>

/**
 * rust_helper_set_current_state() - Sets the state of the current task.
 * @state: state of a task (TASK_*)
 *
 * Wraps set_current_state(), which is a macro.
 */
__rust_helper void rust_helper_set_current_state(unsigned int state)
{
	set_current_state(state);
}

/**
 * rust_helper_tether_kthread_kill() - Sends SIGKILL to a kernel thread that uses user memory.
 * @task: kernel thread
 *
 * While @task uses the address space of a process (with_mm()), only a fatal signal ends its wait
 * for a page. The signal does not end the thread.
 *
 * Context: Any. On PREEMPT_RT the lock of signals sleeps, so that no signal is sent in atomic
 * context there. The task that waits for the end of the thread calls this again.
 */
__rust_helper void rust_helper_tether_kthread_kill(struct task_struct *task)
{
	if (READ_ONCE(task->mm) && (!IS_ENABLED(CONFIG_PREEMPT_RT) || preemptible()))
		send_sig(SIGKILL, task, 1);
}

/**
 * rust_helper_set_tsk_thread_flag() - Sets a flag of a task.
 * @task: task
 * @flag: number of the flag (TIF_*)
 *
 * Wraps set_tsk_thread_flag(), which is inline.
 */
__rust_helper void rust_helper_set_tsk_thread_flag(struct task_struct *task, int flag)
{
	set_tsk_thread_flag(task, flag);
}

/**
 * rust_helper_clear_notify_signal() - Clears TIF_NOTIFY_SIGNAL of the current task.
 *
 * Wraps clear_notify_signal(), which is inline.
 */
__rust_helper void rust_helper_clear_notify_signal(void)
{
	clear_notify_signal();
}

/**
 * rust_helper_tether_dequeue_signal() - Dequeues a signal of the current kernel thread.
 *
 * Wraps kernel_dequeue_signal(), which is inline. A request to stop makes signal_pending() true
 * as well, but is no signal; hence task_sigpending() is tested first.
 *
 * Return: the number of the signal, or 0 if none is pending.
 */
__rust_helper int rust_helper_tether_dequeue_signal(void)
{
	return task_sigpending(current) ? kernel_dequeue_signal() : 0;
}

/**
 * rust_helper_allow_signal() - Lets the current kernel thread receive a signal.
 * @sig: number of the signal
 *
 * Wraps allow_signal(), which is inline.
 */
__rust_helper void rust_helper_allow_signal(int sig)
{
	allow_signal(sig);
}

/**
 * rust_helper_tether_set_freezable() - Makes the current kernel thread freezable.
 *
 * Wraps set_freezable(), which is inline without CONFIG_FREEZER.
 */
__rust_helper void rust_helper_tether_set_freezable(void)
{
	set_freezable();
}

/**
 * rust_helper_tether_set_nofreeze() - Makes the current kernel thread not freezable.
 *
 * Undoes set_freezable(): the freezer does not wait for this thread. The kernel has no function
 * for this. Only the current task changes its flags, so that no lock is needed.
 */
__rust_helper void rust_helper_tether_set_nofreeze(void)
{
	current->flags |= PF_NOFREEZE;
}

/**
 * rust_helper_tether_node_online() - Tests whether a NUMA node is online.
 * @node: number of the node
 *
 * Wraps node_online(), which is inline or a macro. A number out of range is accepted, and is not
 * online.
 *
 * Return: true if a NUMA node is online.
 */
__rust_helper bool rust_helper_tether_node_online(unsigned int node)
{
	return node < MAX_NUMNODES && node_online(node);
}

/**
 * rust_helper_tether_cpu_possible() - Tests whether a CPU is possible.
 * @cpu: number of the CPU
 *
 * Wraps cpu_possible(), which is inline or a macro. A number out of range is accepted, and is
 * not possible.
 *
 * Return: true if a CPU is possible.
 */
__rust_helper bool rust_helper_tether_cpu_possible(unsigned int cpu)
{
	return cpu < nr_cpu_ids && cpu_possible(cpu);
}

/**
 * rust_helper_tether_cpu_to_node() - Returns the NUMA node of a CPU.
 * @cpu: possible CPU
 *
 * Wraps cpu_to_node(), which is inline or a macro.
 *
 * Return: the node.
 */
__rust_helper int rust_helper_tether_cpu_to_node(unsigned int cpu)
{
	return cpu_to_node(cpu);
}

/**
 * rust_helper_tether_set_deadline() - Sets the policy SCHED_DEADLINE.
 * @task: task
 * @runtime: CPU time in each period, in nanoseconds
 * @deadline: time in which the task gets @runtime
 * @period: length of a period
 *
 * struct sched_attr is declared in a header that the bindings do not include.
 *
 * Return: 0, or an error of sched_setattr_nocheck().
 */
__rust_helper int rust_helper_tether_set_deadline(struct task_struct *task, u64 runtime,
						  u64 deadline, u64 period)
{
	struct sched_attr attr = {
		.size = sizeof(attr),
		.sched_policy = SCHED_DEADLINE,
		.sched_runtime = runtime,
		.sched_deadline = deadline,
		.sched_period = period,
	};

	return sched_setattr_nocheck(task, &attr);
}

/**
 * rust_helper_tether_may_use_all_cpus() - Tests whether a task may run on all online CPUs.
 * @task: task
 *
 * The kernel requires this of a deadline task that a user creates.
 *
 * Return: true if the task may run on all online CPUs.
 */
__rust_helper bool rust_helper_tether_may_use_all_cpus(struct task_struct *task)
{
	return cpumask_subset(cpu_online_mask, task->cpus_ptr);
}

/**
 * rust_helper_kthread_init_work() - Initialises a work.
 * @work: work
 * @func: function of the work
 *
 * Wraps kthread_init_work(), which is a macro.
 */
__rust_helper void rust_helper_kthread_init_work(struct kthread_work *work,
						 kthread_work_func_t func)
{
	kthread_init_work(work, func);
}

/**
 * rust_helper_kthread_init_delayed_work() - Initialises a delayed work.
 * @dwork: delayed work
 * @func: function of the work
 *
 * Wraps kthread_init_delayed_work(), which is a macro.
 */
__rust_helper void rust_helper_kthread_init_delayed_work(struct kthread_delayed_work *dwork,
							 kthread_work_func_t func)
{
	kthread_init_delayed_work(dwork, func);
}

/**
 * rust_helper_tether_kthread_work_unbind() - Lets any worker queue a work again.
 * @work: work that is not pending
 * @func: new function of the work
 *
 * The kernel binds a work to the first worker that queues it (work->worker). The caller holds
 * the lock for the binding of works.
 */
__rust_helper void rust_helper_tether_kthread_work_unbind(struct kthread_work *work,
							  kthread_work_func_t func)
{
	work->worker = NULL;
	work->func = func;
}

/*
 * tether_kthread_enter() - Becomes a user of the worker of a queue.
 * @users: number of tasks that use the worker of the queue; negative if the queue is closed
 * @bound: queue that the work is bound to
 * @queue: queue that the caller wants to use
 *
 * This is in C because the atomic operations are function calls in Rust.
 *
 * Return: 0; -EXDEV if the work is bound to another queue; -ESHUTDOWN if the queue is closed.
 */
static __always_inline int tether_kthread_enter(atomic_t *users, void *const *bound, void *queue)
{
	/* Pairs with the release store in Queue::bind(): the work is initialised. */
	if (unlikely(smp_load_acquire(bound) != queue))
		return -EXDEV;
	return likely(atomic_inc_unless_negative(users)) ? 0 : -ESHUTDOWN;
}

/*
 * tether_kthread_leave() - Undoes tether_kthread_enter().
 */
static __always_inline void tether_kthread_leave(atomic_t *users)
{
	atomic_dec_return_release(users);
}

/**
 * rust_helper_tether_kthread_queue_work() - Queues a work.
 * @worker: worker of @queue
 * @work: work
 * @users: as for tether_kthread_enter()
 * @bound: as for tether_kthread_enter()
 * @queue: as for tether_kthread_enter()
 *
 * Calls kthread_queue_work() as a user of the worker, so that the worker is not destroyed
 * meanwhile.
 *
 * Return: 0; -EBUSY if the work is pending or being cancelled; an error of
 * tether_kthread_enter().
 */
__rust_helper int rust_helper_tether_kthread_queue_work(struct kthread_worker *worker,
							struct kthread_work *work,
							void *users, void *const *bound,
							void *queue)
{
	int ret = tether_kthread_enter(users, bound, queue);

	if (unlikely(ret))
		return ret;
	ret = kthread_queue_work(worker, work) ? 0 : -EBUSY;
	tether_kthread_leave(users);
	return ret;
}

/**
 * rust_helper_tether_kthread_queue_delayed_work() - Queues a delayed work.
 * @worker: worker of @queue
 * @dwork: delayed work
 * @users: as for tether_kthread_enter()
 * @bound: as for tether_kthread_enter()
 * @queue: as for tether_kthread_enter()
 * @delay: delay in jiffies; at most MAX_JIFFY_OFFSET is used
 *
 * Calls kthread_queue_delayed_work() as a user of the worker, so that the worker is not
 * destroyed meanwhile.
 *
 * Return: 0; -EBUSY if the work is pending or being cancelled; an error of
 * tether_kthread_enter().
 */
__rust_helper int rust_helper_tether_kthread_queue_delayed_work(struct kthread_worker *worker,
								struct kthread_delayed_work *dwork,
								void *users, void *const *bound,
								void *queue, unsigned long delay)
{
	int ret = tether_kthread_enter(users, bound, queue);

	if (ret)
		return ret;
	delay = min(delay, MAX_JIFFY_OFFSET);
	ret = kthread_queue_delayed_work(worker, dwork, delay) ? 0 : -EBUSY;
	tether_kthread_leave(users);
	return ret;
}

/**
 * rust_helper_tether_kthread_insert() - Appends a work to the list of pending works.
 * @worker: worker
 * @work: work
 *
 * Replaces kthread_insert_work(), which is static in kernel/kthread.c.
 *
 * Context: The lock of the worker must be held. The work must be bound to the worker.
 */
__rust_helper void rust_helper_tether_kthread_insert(struct kthread_worker *worker,
						     struct kthread_work *work)
{
	list_add_tail(&work->node, &worker->work_list);
	if (!worker->current_work && worker->task)
		wake_up_process(worker->task);
}

/**
 * rust_helper_tether_kthread_delete_timer() - Deletes the timer of a delayed work.
 * @worker: worker of @dwork
 * @dwork: delayed work
 * @flags: flags of the interrupts, as saved when the lock was taken
 *
 * A timer that is firing is about to move the work, and spins for the lock. In this case the
 * lock is released and taken again, and the caller repeats the call.
 *
 * Context: The lock of the worker must be held.
 *
 * Return: 1 if the timer was armed; 0 if it was not; negative if the lock was released.
 */
__rust_helper int
rust_helper_tether_kthread_delete_timer(struct kthread_worker *worker,
					struct kthread_delayed_work *dwork, unsigned long *flags)
{
	int armed = timer_delete_sync_try(&dwork->timer);

	if (armed < 0) {
		raw_spin_unlock_irqrestore(&worker->lock, *flags);
		cpu_relax();
		raw_spin_lock_irqsave(&worker->lock, *flags);
	}
	return armed;
}

/**
 * rust_helper_tether_kthread_unlink() - Removes a work from the list that it is in, if any.
 * @work: work
 *
 * Context: The lock of the worker must be held.
 *
 * Return: whether the work was in a list, that is, pending or waiting for its delay.
 */
__rust_helper bool rust_helper_tether_kthread_unlink(struct kthread_work *work)
{
	bool pending = !list_empty(&work->node);

	list_del_init(&work->node);
	return pending;
}

/**
 * rust_helper_tether_kthread_dequeue() - Locks a worker and removes a work from its lists.
 * @worker: worker of @work
 * @work: work
 * @delayed: whether @work is that of a struct kthread_delayed_work
 * @flags: set to the flags of the interrupts, for the unlock
 *
 * kthread_cancel_delayed_work_sync() and kthread_mod_delayed_work() cannot be used instead. If
 * the timer fires while they delete it, the timer drops the work because the work is being
 * cancelled, and these functions report that the work was not pending. The reference that was
 * given to the queue would be leaked.
 *
 * Context: Returns with the lock of the worker held.
 *
 * Return: whether the work was in a list.
 */
__rust_helper bool
rust_helper_tether_kthread_dequeue(struct kthread_worker *worker, struct kthread_work *work,
				   bool delayed, unsigned long *flags)
{
	struct kthread_delayed_work *dwork = container_of(work, struct kthread_delayed_work, work);

	raw_spin_lock_irqsave(&worker->lock, *flags);
	while (delayed && rust_helper_tether_kthread_delete_timer(worker, dwork, flags) < 0)
		;
	return rust_helper_tether_kthread_unlink(work);
}

/**
 * rust_helper_tether_kthread_mod_delayed_work() - Queues a delayed work or changes its delay.
 * @worker: worker of @queue
 * @dwork: delayed work
 * @users: as for tether_kthread_enter()
 * @bound: as for tether_kthread_enter()
 * @queue: as for tether_kthread_enter()
 * @delay: new delay in jiffies; at most MAX_JIFFY_OFFSET is used
 *
 * The lock is held from the removal of the work to its insertion, so that a task that cancels
 * the work or waits for it finds it pending. kthread_mod_delayed_work() releases the lock in
 * between, and leaks a work if its timer is firing.
 *
 * Return: 1 if the work was pending; 0 if it was not; -EBUSY if the work is being cancelled; an
 * error of tether_kthread_enter().
 */
__rust_helper int rust_helper_tether_kthread_mod_delayed_work(struct kthread_worker *worker,
							      struct kthread_delayed_work *dwork,
							      void *users, void *const *bound,
							      void *queue, unsigned long delay)
{
	struct kthread_work *work = &dwork->work;
	int ret = tether_kthread_enter(users, bound, queue);
	unsigned long flags;

	if (ret)
		return ret;
	ret = rust_helper_tether_kthread_dequeue(worker, work, true, &flags);
	if (work->canceling) {
		/*
		 * The canceller has taken the work, so that it was not pending. The work cannot be
		 * queued until the canceller returns.
		 */
		ret = -EBUSY;
	} else {
		work->worker = worker;
		if (delay) {
			list_add(&work->node, &worker->delayed_work_list);
			dwork->timer.expires = jiffies + min(delay, MAX_JIFFY_OFFSET);
			add_timer(&dwork->timer);
		} else {
			rust_helper_tether_kthread_insert(worker, work);
		}
	}
	raw_spin_unlock_irqrestore(&worker->lock, flags);
	tether_kthread_leave(users);
	return ret;
}

/**
 * rust_helper_tether_kthread_cancel_begin() - Removes a work from the lists of its worker.
 * @worker: worker of @work
 * @work: work
 * @delayed: whether @work is that of a struct kthread_delayed_work
 * @may_wait: whether the caller waits for a running work
 * @running: set to whether the work is running
 *
 * If the work is running and @may_wait is false, nothing is changed. If it is running and
 * @may_wait is true, the work cannot be queued until rust_helper_tether_kthread_cancel_end() was
 * called.
 *
 * Return: whether the work was in a list and was removed from it.
 */
__rust_helper bool rust_helper_tether_kthread_cancel_begin(struct kthread_worker *worker,
							   struct kthread_work *work, bool delayed,
							   bool may_wait, bool *running)
{
	struct kthread_delayed_work *dwork = container_of(work, struct kthread_delayed_work, work);
	unsigned long flags;
	bool pending = false;

	raw_spin_lock_irqsave(&worker->lock, flags);
	do {
		*running = worker->current_work == work;
		if (*running && !may_wait)
			goto unlock;
	} while (delayed && rust_helper_tether_kthread_delete_timer(worker, dwork, &flags) < 0);
	pending = rust_helper_tether_kthread_unlink(work);
	if (*running)
		work->canceling++;
unlock:
	raw_spin_unlock_irqrestore(&worker->lock, flags);
	return pending;
}

/**
 * rust_helper_tether_kthread_interrupt_work() - Interrupts the work that a worker runs.
 * @worker: worker with a thread
 *
 * Interruptible sleeps of the work return from then on. Nothing happens if no work is running.
 * SIGKILL is sent after the lock of the worker is released, because the lock of signals sleeps
 * on PREEMPT_RT.
 */
__rust_helper void rust_helper_tether_kthread_interrupt_work(struct kthread_worker *worker)
{
	unsigned long flags;
	bool running;

	raw_spin_lock_irqsave(&worker->lock, flags);
	running = worker->current_work;
	if (running) {
		set_tsk_thread_flag(worker->task, TIF_NOTIFY_SIGNAL);
		wake_up_process(worker->task);
	}
	raw_spin_unlock_irqrestore(&worker->lock, flags);
	if (running)
		rust_helper_tether_kthread_kill(worker->task);
}

/**
 * rust_helper_tether_kthread_cancel_end() - Waits until a cancelled work is not running.
 * @worker: worker of @work
 * @work: work that rust_helper_tether_kthread_cancel_begin() has found running
 *
 * Allows the work to be queued again.
 */
__rust_helper void rust_helper_tether_kthread_cancel_end(struct kthread_worker *worker,
							 struct kthread_work *work)
{
	kthread_flush_work(work);
	guard(raw_spinlock_irqsave)(&worker->lock);
	work->canceling--;
}

/**
 * rust_helper_tether_kthread_end_delay() - Makes a delayed work pending at once.
 * @worker: worker of @dwork
 * @dwork: delayed work
 *
 * Nothing happens if the delay is over or the work is not queued. kthread_flush_work() of a work
 * that waits for its delay inserts its own work into the list of delayed works, which are not
 * run, and does not return. A flush of Tether calls this helper first.
 */
__rust_helper void rust_helper_tether_kthread_end_delay(struct kthread_worker *worker,
							struct kthread_delayed_work *dwork)
{
	unsigned long flags;
	int armed;

	raw_spin_lock_irqsave(&worker->lock, flags);
	do {
		armed = rust_helper_tether_kthread_delete_timer(worker, dwork, &flags);
	} while (armed < 0);
	if (armed) {
		list_del(&dwork->work.node);
		rust_helper_tether_kthread_insert(worker, &dwork->work);
	}
	raw_spin_unlock_irqrestore(&worker->lock, flags);
}

/**
 * rust_helper_tether_kthread_work_busy() - Tests whether a work is pending or running.
 * @worker: worker
 * @work: work
 *
 * The lock of the worker is a raw spinlock, and its functions are macros.
 *
 * Return: true if a work is pending or running.
 */
__rust_helper bool rust_helper_tether_kthread_work_busy(struct kthread_worker *worker,
							struct kthread_work *work)
{
	guard(raw_spinlock_irqsave)(&worker->lock);
	return !list_empty(&work->node) || worker->current_work == work;
}

/**
 * rust_helper_tether_kthread_take_pending() - Moves the pending works of a worker to another
 * list.
 * @worker: worker that is closed, so that no task flushes it
 * @leftover: destination
 *
 * Works that wait for their delay stay.
 *
 * Return: whether the worker runs no work.
 */
__rust_helper bool rust_helper_tether_kthread_take_pending(struct kthread_worker *worker,
							   struct list_head *leftover)
{
	guard(raw_spinlock_irq)(&worker->lock);
	list_splice_tail_init(&worker->work_list, leftover);
	return !worker->current_work;
}

/**
 * rust_helper_tether_kthread_take_work() - Removes one work from a worker that has ended.
 * @worker: worker that is closed, after its thread has ended
 * @leftover: list with works of rust_helper_tether_kthread_take_pending()
 *
 * Takes works from @leftover and from the lists of the worker, pending or waiting for their
 * delay.
 *
 * Return: the work, or NULL if none is left.
 */
__rust_helper struct kthread_work *
rust_helper_tether_kthread_take_work(struct kthread_worker *worker, struct list_head *leftover)
{
	struct kthread_work *work;
	unsigned long flags;

	for (;;) {
		raw_spin_lock_irq(&worker->lock);
		list_splice_tail_init(&worker->work_list, leftover);
		work = list_first_entry_or_null(leftover, struct kthread_work, node);
		if (work) {
			list_del_init(&work->node);
			raw_spin_unlock_irq(&worker->lock);
			return work;
		}
		work = list_first_entry_or_null(&worker->delayed_work_list, struct kthread_work,
						node);
		raw_spin_unlock_irq(&worker->lock);
		if (!work)
			return NULL;
		/*
		 * The timer may make the work pending meanwhile. The call removes it from the list
		 * of pending works in this case.
		 */
		if (rust_helper_tether_kthread_dequeue(worker, work, true, &flags)) {
			raw_spin_unlock_irqrestore(&worker->lock, flags);
			return work;
		}
		raw_spin_unlock_irqrestore(&worker->lock, flags);
	}
}
