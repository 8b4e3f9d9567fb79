// SPDX-License-Identifier: GPL-2.0

#include <linux/cleanup.h>
#include <linux/cpumask.h>
#include <linux/freezer.h>
#include <linux/kthread.h>
#include <linux/nodemask.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/spinlock.h>
#include <linux/timer.h>

__rust_helper void rust_helper_set_current_state(unsigned int state)
{
	set_current_state(state);
}

/*
 * If @task, a kernel thread, uses the memory of a process (with_mm()), only a fatal signal ends its
 * wait for a page. On PREEMPT_RT the lock of signals sleeps, so that a caller in atomic context
 * sends none; the task that waits for the end of the thread calls this again.
 */
static void tether_kthread_kill(struct task_struct *task)
{
	if (READ_ONCE(task->mm) && (!IS_ENABLED(CONFIG_PREEMPT_RT) || preemptible()))
		send_sig(SIGKILL, task, 1);
}

/*
 * What kthread_stop() does to make a thread look up, without KTHREAD_SHOULD_STOP, which is
 * private to kernel/kthread.c, and without waiting.
 */
__rust_helper void rust_helper_tether_kthread_interrupt(struct task_struct *task)
{
	set_tsk_thread_flag(task, TIF_NOTIFY_SIGNAL);
	tether_kthread_kill(task);
	wake_up_process(task);
}

/* Undoes the above for the current thread, which is a worker between two works. */
__rust_helper void rust_helper_tether_kthread_clear_interrupt(void)
{
	clear_notify_signal();
}

/* Takes a signal off the current thread, if one is pending: being asked to stop is none. */
__rust_helper int rust_helper_tether_dequeue_signal(void)
{
	return task_sigpending(current) ? kernel_dequeue_signal() : 0;
}

__rust_helper void rust_helper_allow_signal(int sig)
{
	allow_signal(sig);
}

/* Inline where nothing freezes. */
__rust_helper void rust_helper_tether_set_freezable(void)
{
	set_freezable();
}

/* The opposite. Nobody waits for a thread to freeze that needs not. */
__rust_helper void rust_helper_tether_set_nofreeze(void)
{
	current->flags |= PF_NOFREEZE;
}

__rust_helper bool rust_helper_tether_node_online(unsigned int node)
{
	return node < MAX_NUMNODES && node_online(node);
}

__rust_helper bool rust_helper_tether_cpu_possible(unsigned int cpu)
{
	return cpu < nr_cpu_ids && cpu_possible(cpu);
}

__rust_helper void rust_helper_kthread_init_work(struct kthread_work *work,
						 kthread_work_func_t func)
{
	kthread_init_work(work, func);
}

__rust_helper void rust_helper_kthread_init_delayed_work(struct kthread_delayed_work *dwork,
							 kthread_work_func_t func)
{
	kthread_init_delayed_work(dwork, func);
}

/* Makes @work, which is not pending, one that calls @func, and that any worker may get. */
__rust_helper void rust_helper_tether_kthread_work_unbind(struct kthread_work *work,
							  kthread_work_func_t func)
{
	work->worker = NULL;
	work->func = func;
}

/*
 * In C because of the atomic operations, which are calls in Rust.
 *
 * @users, of the queue, counts those who use its worker; it is negative when it is closed. @bound,
 * of the work, is the queue that it may be given to; if that is another one it is not.
 */
static __always_inline int tether_kthread_enter(atomic_t *users, void *const *bound, void *queue)
{
	if (unlikely(smp_load_acquire(bound) != queue))
		return -EXDEV;
	return likely(atomic_inc_unless_negative(users)) ? 0 : -ESHUTDOWN;
}

static __always_inline void tether_kthread_leave(atomic_t *users)
{
	atomic_dec_return_release(users);
}

/* 0, or why the work was not queued. */
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

/* Likewise. */
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

/* As kthread_insert_work() at the end of the list, with the worker's lock held. */
static void tether_kthread_insert(struct kthread_worker *worker, struct kthread_work *work)
{
	list_add_tail(&work->node, &worker->work_list);
	if (!worker->current_work && worker->task)
		wake_up_process(worker->task);
}

/*
 * Deletes the timer of @dwork, with the worker's lock held, and returns whether it was armed. A
 * timer that is firing is about to move the work, and spins for the lock: in this case the lock is
 * released and taken again, and the result is negative.
 */
static int tether_kthread_delete_timer(struct kthread_worker *worker,
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

/*
 * Takes @work out of the list that it is in, with the worker's lock held. Returns whether it was in
 * one.
 */
static bool tether_kthread_unlink(struct kthread_work *work)
{
	bool pending = !list_empty(&work->node);

	list_del_init(&work->node);
	return pending;
}

/*
 * Takes @work, which is a delayed one if @delayed, out of the list that it is in. Returns whether
 * it was in one, with the worker's lock held.
 *
 * kthread_cancel_delayed_work_sync() and kthread_mod_delayed_work() do not serve here. If the timer
 * fires meanwhile, it drops the work because the work is being cancelled, and these functions
 * return that the work was not pending. The reference that was given to the queue would be leaked.
 */
static bool tether_kthread_dequeue(struct kthread_worker *worker, struct kthread_work *work,
				   bool delayed, unsigned long *flags)
{
	struct kthread_delayed_work *dwork = container_of(work, struct kthread_delayed_work, work);

	raw_spin_lock_irqsave(&worker->lock, *flags);
	while (delayed && tether_kthread_delete_timer(worker, dwork, flags) < 0)
		;
	return tether_kthread_unlink(work);
}

/*
 * Queues @dwork, or changes its delay if it is pending, under one hold of the lock: a task that
 * cancels the work or waits for it meanwhile finds it pending. Returns whether it was pending, or
 * why it was not queued.
 *
 * kthread_mod_delayed_work() releases the lock in between, and leaks a work if its timer is firing.
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
	ret = tether_kthread_dequeue(worker, work, true, &flags);
	if (work->canceling) {
		/*
		 * It was not pending: the canceller has taken it, and nothing is queued until it
		 * returns.
		 */
		ret = -EBUSY;
	} else {
		work->worker = worker;
		if (delay) {
			list_add(&work->node, &worker->delayed_work_list);
			dwork->timer.expires = jiffies + min(delay, MAX_JIFFY_OFFSET);
			add_timer(&dwork->timer);
		} else {
			tether_kthread_insert(worker, work);
		}
	}
	raw_spin_unlock_irqrestore(&worker->lock, flags);
	tether_kthread_leave(users);
	return ret;
}

/*
 * Takes @work out of the list that it is in. Returns whether it was in one. If it is running,
 * *@running is set; then nothing is done unless @may_wait, and otherwise it cannot be queued until
 * rust_helper_tether_kthread_cancel_end().
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
	} while (delayed && tether_kthread_delete_timer(worker, dwork, &flags) < 0);
	pending = tether_kthread_unlink(work);
	if (*running)
		work->canceling++;
unlock:
	raw_spin_unlock_irqrestore(&worker->lock, flags);
	return pending;
}

/*
 * Interrupts the work that the worker runs, if it runs one: it is woken from interruptible sleeps.
 */
__rust_helper void rust_helper_tether_kthread_interrupt_work(struct kthread_worker *worker)
{
	bool running;

	scoped_guard(raw_spinlock_irqsave, &worker->lock) {
		running = worker->current_work;
		if (running) {
			set_tsk_thread_flag(worker->task, TIF_NOTIFY_SIGNAL);
			wake_up_process(worker->task);
		}
	}
	if (running)
		tether_kthread_kill(worker->task);
}

/* Waits until @work is not running. */
__rust_helper void rust_helper_tether_kthread_cancel_end(struct kthread_worker *worker,
							 struct kthread_work *work)
{
	kthread_flush_work(work);
	guard(raw_spinlock_irqsave)(&worker->lock);
	work->canceling--;
}

/* Ends the delay of @dwork, if it is not over. */
__rust_helper void rust_helper_tether_kthread_end_delay(struct kthread_worker *worker,
							struct kthread_delayed_work *dwork)
{
	unsigned long flags;
	int armed;

	raw_spin_lock_irqsave(&worker->lock, flags);
	do {
		armed = tether_kthread_delete_timer(worker, dwork, &flags);
	} while (armed < 0);
	if (armed) {
		list_del(&dwork->work.node);
		tether_kthread_insert(worker, &dwork->work);
	}
	raw_spin_unlock_irqrestore(&worker->lock, flags);
}

/* Whether @work is pending or running. */
__rust_helper bool rust_helper_tether_kthread_work_busy(struct kthread_worker *worker,
							struct kthread_work *work)
{
	guard(raw_spinlock_irqsave)(&worker->lock);
	return !list_empty(&work->node) || worker->current_work == work;
}

/*
 * Moves all pending works to @leftover, but those that wait for their delay, and returns whether
 * the worker runs none. The worker must be closed, so that no task flushes it.
 */
__rust_helper bool rust_helper_tether_kthread_take_pending(struct kthread_worker *worker,
							   struct list_head *leftover)
{
	guard(raw_spinlock_irq)(&worker->lock);
	list_splice_tail_init(&worker->work_list, leftover);
	return !worker->current_work;
}

/*
 * Takes a work out of @leftover, or one out of @worker, be it pending or waiting for its delay; or
 * returns NULL. The worker must be closed, and its thread have ended.
 */
__rust_helper struct kthread_work *rust_helper_tether_kthread_take_work(struct kthread_worker *worker,
									struct list_head *leftover)
{
	struct kthread_work *work;
	unsigned long flags;

	for (;;) {
		scoped_guard(raw_spinlock_irq, &worker->lock) {
			list_splice_tail_init(&worker->work_list, leftover);
			work = list_first_entry_or_null(leftover, struct kthread_work, node);
			if (work) {
				list_del_init(&work->node);
				return work;
			}
			work = list_first_entry_or_null(&worker->delayed_work_list,
							struct kthread_work, node);
		}
		if (!work)
			return NULL;
		/*
		 * The timer may be about to make it pending: it is taken from there in that case.
		 */
		if (tether_kthread_dequeue(worker, work, true, &flags)) {
			raw_spin_unlock_irqrestore(&worker->lock, flags);
			return work;
		}
		raw_spin_unlock_irqrestore(&worker->lock, flags);
	}
}
