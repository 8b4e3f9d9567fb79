// SPDX-License-Identifier: GPL-2.0
/*
 * The code that C needs for the guarantees of Tether. For a task work: text that stays mapped,
 * calls the work's module and then drops its pin; and a record of pending works. For a thread: a
 * reference to its task, a list per module, separate functions to request the end and to wait for
 * it, parking that always answers, and a check for cycles of waits. For the works of a worker: each
 * is bound to one worker, and cannot be queued while the worker is torn down.
 */

#include <linux/completion.h>
#include <linux/jiffies.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/task_work.h>

#include "bench_shim.h"
#include "pins.h"

/* The running works: a callback, which may have freed its work, must not queue it again. */
static struct guarded_work *running[64];

static struct guarded_work **running_slot(struct guarded_work *work)
{
	return &running[(unsigned long)work / 64 % ARRAY_SIZE(running)];
}

static noinline void guarded_run(struct callback_head *head)
{
	struct guarded_work *work = container_of(head, struct guarded_work, head);
	struct guarded_work **slot = running_slot(work);
	struct pins *pins = work->pins;

	WRITE_ONCE(*slot, work);
	work->run(work);
	WRITE_ONCE(*slot, NULL);
	unpin(pins);
}

struct pins *guarded_pins(struct module *module)
{
	return pins_new(module);
}
EXPORT_SYMBOL_GPL(guarded_pins);

void guarded_init(struct guarded_work *work, struct pins *pins,
		  void (*run)(struct guarded_work *work))
{
	init_task_work(&work->head, guarded_run);
	work->run = run;
	work->pins = pins;
}
EXPORT_SYMBOL_GPL(guarded_init);

int guarded_add(struct task_struct *task, struct guarded_work *work,
		enum task_work_notify_mode mode)
{
	int ret;

	if (READ_ONCE(*running_slot(work)) == work)
		return -EBUSY;
	WRITE_ONCE(work->target, task);
	work->added = jiffies;
	/* A kernel thread runs its task works only when it exits. */
	if (unlikely(READ_ONCE(task->flags) & PF_KTHREAD))
		return -EINVAL;
	if (unlikely(!pin(work->pins)))
		return -ENODEV;
	ret = task_work_add(task, &work->head, mode);
	if (unlikely(ret))
		unpin(work->pins);
	return ret;
}
EXPORT_SYMBOL_GPL(guarded_add);

struct guarded_threads {
	/* Protects the list. */
	spinlock_t lock;
	struct list_head list;
	atomic_t entered;
	bool closed;
};

enum { RUNNING, PARKING, PARKED, UNPARKING, OVER };

struct guarded_thread {
	struct guarded_attachment attachment;
	struct guarded_threads *threads;
	struct task_struct *task;
	void (*body)(struct guarded_thread *thread, void *data);
	void *data;
	refcount_t refs;
	struct completion returned;
	struct guarded_thread *waits_for;
	atomic_t parking;
	atomic_t started;
	bool should_stop;
	bool woken;
	bool began;
	bool over;
};

static DEFINE_RAW_SPINLOCK(waits_lock);

struct guarded_threads *guarded_threads(void)
{
	struct guarded_threads *threads = kzalloc(sizeof(*threads), GFP_KERNEL);

	if (threads) {
		spin_lock_init(&threads->lock);
		INIT_LIST_HEAD(&threads->list);
	}
	return threads;
}
EXPORT_SYMBOL_GPL(guarded_threads);

int guarded_enter(struct guarded_threads *threads)
{
	atomic_inc(&threads->entered);
	/* Count first, test second; the task that closes does the opposite. */
	smp_mb__after_atomic();
	if (!READ_ONCE(threads->closed))
		return 0;
	atomic_dec(&threads->entered);
	return -ENODEV;
}
EXPORT_SYMBOL_GPL(guarded_enter);

void guarded_leave(struct guarded_threads *threads)
{
	atomic_dec_return_release(&threads->entered);
}
EXPORT_SYMBOL_GPL(guarded_leave);

void guarded_attach(struct guarded_threads *threads, struct guarded_attachment *attachment)
{
	spin_lock(&threads->lock);
	attachment->attached = true;
	list_add_tail(&attachment->links, &threads->list);
	spin_unlock(&threads->lock);
}
EXPORT_SYMBOL_GPL(guarded_attach);

/* Removes an attachment from its list. The module's teardown waits until guarded_leave(). */
bool guarded_detach(struct guarded_threads *threads, struct guarded_attachment *attachment)
{
	bool attached;

	spin_lock(&threads->lock);
	attached = attachment->attached;
	if (attached) {
		atomic_inc(&threads->entered);
		list_del(&attachment->links);
		attachment->attached = false;
	}
	spin_unlock(&threads->lock);
	return attached;
}
EXPORT_SYMBOL_GPL(guarded_detach);

static void guarded_thread_put(struct guarded_thread *thread)
{
	if (refcount_dec_and_test(&thread->refs)) {
		put_task_struct(thread->task);
		kfree(thread);
	}
}

static void guarded_end_parking(struct guarded_thread *thread)
{
	WRITE_ONCE(thread->over, true);
	for (;;) {
		set_current_state(TASK_IDLE);
		if (atomic_cmpxchg(&thread->parking, RUNNING, OVER) == RUNNING)
			break;
		if (kthread_should_park())
			kthread_parkme();
		else
			schedule();
	}
	__set_current_state(TASK_RUNNING);
}

static int guarded_main(void *data)
{
	struct guarded_thread *thread = data;

	WRITE_ONCE(thread->began, true);
	thread->body(thread, thread->data);
	guarded_end_parking(thread);
	complete_all(&thread->returned);
	guarded_thread_put(thread);
	return 0;
}

struct guarded_thread *guarded_thread_run(struct guarded_threads *threads,
					  void (*body)(struct guarded_thread *thread, void *data),
					  void *data)
{
	struct guarded_thread *thread = kzalloc(sizeof(*thread), GFP_KERNEL);

	if (!thread)
		return ERR_PTR(-ENOMEM);
	thread->threads = threads;
	thread->body = body;
	thread->data = data;
	/* One reference each for the caller, the list and the thread. */
	refcount_set(&thread->refs, 3);
	init_completion(&thread->returned);
	if (guarded_enter(threads))
		goto closed;
	thread->task = kthread_create(guarded_main, thread, "%s", "bench");
	if (IS_ERR(thread->task)) {
		guarded_leave(threads);
		goto closed;
	}
	get_task_struct(thread->task);
	guarded_attach(threads, &thread->attachment);
	guarded_leave(threads);
	if (!atomic_xchg(&thread->started, 1))
		wake_up_process(thread->task);
	return thread;
closed:
	kfree(thread);
	return ERR_PTR(-ENODEV);
}
EXPORT_SYMBOL_GPL(guarded_thread_run);

/* Records the wait in the graph if the current task is a guarded thread. Refuses a cycle. */
static int guarded_wait_for(struct guarded_thread *thread)
{
	struct guarded_thread *me, *other;

	if (kthread_func(current) != guarded_main)
		return 0;
	me = kthread_data(current);
	guard(raw_spinlock_irqsave)(&waits_lock);
	for (other = thread; other; other = other->waits_for)
		if (other == me)
			return -EDEADLK;
	me->waits_for = thread;
	return 0;
}

static void guarded_waited(void)
{
	struct guarded_thread *me;

	if (kthread_func(current) != guarded_main)
		return;
	me = kthread_data(current);
	guard(raw_spinlock_irqsave)(&waits_lock);
	me->waits_for = NULL;
}

int guarded_thread_stop(struct guarded_threads *threads, struct guarded_thread *thread)
{
	int ret = guarded_wait_for(thread);

	if (ret)
		return ret;
	if (guarded_detach(threads, &thread->attachment)) {
		WRITE_ONCE(thread->should_stop, true);
		guarded_thread_unpark(thread);
		kthread_stop(thread->task);
		if (!READ_ONCE(thread->began)) {
			complete_all(&thread->returned);
			guarded_thread_put(thread);
		}
		guarded_thread_put(thread);
		guarded_leave(threads);
	}
	guarded_waited();
	guarded_thread_put(thread);
	return 0;
}
EXPORT_SYMBOL_GPL(guarded_thread_stop);

void guarded_thread_sleep(struct guarded_thread *thread, bool parkable)
{
	for (;;) {
		set_current_state(TASK_IDLE);
		if (READ_ONCE(thread->should_stop))
			break;
		if (parkable && kthread_should_park()) {
			__set_current_state(TASK_RUNNING);
			kthread_parkme();
		} else if (xchg(&thread->woken, false)) {
			__set_current_state(TASK_RUNNING);
		} else {
			schedule();
		}
	}
	__set_current_state(TASK_RUNNING);
}
EXPORT_SYMBOL_GPL(guarded_thread_sleep);

int guarded_thread_park(struct guarded_thread *thread)
{
	int ret = guarded_wait_for(thread);

	if (ret)
		return ret;
	ret = atomic_cmpxchg(&thread->parking, RUNNING, PARKING);
	if (ret != RUNNING) {
		guarded_waited();
		return ret == OVER ? -ESRCH : -EBUSY;
	}
	if (!READ_ONCE(thread->should_stop)) {
		kthread_park(thread->task);
		if (!READ_ONCE(thread->over) &&
		    atomic_cmpxchg(&thread->parking, PARKING, PARKED) == PARKING) {
			guarded_waited();
			return 0;
		}
		kthread_unpark(thread->task);
	}
	atomic_set_release(&thread->parking, RUNNING);
	wake_up_process(thread->task);
	guarded_waited();
	return READ_ONCE(thread->should_stop) || READ_ONCE(thread->over) ? -ESRCH : 0;
}
EXPORT_SYMBOL_GPL(guarded_thread_park);

void guarded_thread_unpark(struct guarded_thread *thread)
{
	for (;;) {
		int state = atomic_cmpxchg(&thread->parking, PARKED, UNPARKING);

		if (state == PARKED)
			break;
		if (state != PARKING ||
		    atomic_cmpxchg(&thread->parking, PARKING, UNPARKING) == PARKING)
			return;
	}
	kthread_unpark(thread->task);
	atomic_set_release(&thread->parking, RUNNING);
	wake_up_process(thread->task);
}
EXPORT_SYMBOL_GPL(guarded_thread_unpark);

struct guarded_worker {
	struct kthread_worker worker;
	struct task_struct *task;
	atomic_t users;
};

struct guarded_worker *guarded_worker_run(void)
{
	struct guarded_worker *worker = kzalloc(sizeof(*worker), GFP_KERNEL);

	if (!worker)
		return ERR_PTR(-ENOMEM);
	kthread_init_worker(&worker->worker);
	worker->task = kthread_create(kthread_worker_fn, &worker->worker, "%s", "bench");
	if (IS_ERR(worker->task)) {
		kfree(worker);
		return ERR_PTR(-ENOMEM);
	}
	get_task_struct(worker->task);
	worker->worker.task = worker->task;
	wake_up_process(worker->task);
	return worker;
}
EXPORT_SYMBOL_GPL(guarded_worker_run);

int guarded_worker_queue(struct guarded_worker *worker, struct guarded_kthread_work *work)
{
	int ret;

	/* Bind a work that was never queued, under a lock. */
	if (unlikely(smp_load_acquire(&work->bound) != worker)) {
		guard(raw_spinlock_irqsave)(&waits_lock);
		if (work->bound && work->bound != worker)
			return -EXDEV;
		/* The work was initialised before it is bound. */
		smp_store_release(&work->bound, worker);
	}
	if (unlikely(!atomic_inc_unless_negative(&worker->users)))
		return -ESHUTDOWN;
	ret = kthread_queue_work(&worker->worker, &work->work) ? 0 : -EBUSY;
	atomic_dec_return_release(&worker->users);
	return ret;
}
EXPORT_SYMBOL_GPL(guarded_worker_queue);

int guarded_worker_flush(struct guarded_worker *worker)
{
	if (current == worker->task)
		return -EDEADLK;
	if (unlikely(!atomic_inc_unless_negative(&worker->users)))
		return -ESHUTDOWN;
	kthread_flush_worker(&worker->worker);
	atomic_dec_return_release(&worker->users);
	return 0;
}
EXPORT_SYMBOL_GPL(guarded_worker_flush);

/* No work may be pending. */
void guarded_worker_destroy(struct guarded_worker *worker)
{
	kthread_stop_put(worker->task);
	kfree(worker);
}
EXPORT_SYMBOL_GPL(guarded_worker_destroy);

static int __init shim_init(void)
{
	return 0;
}

/* The module has no exit, so that it cannot be unloaded. */
module_init(shim_init);

MODULE_DESCRIPTION("Benchmark: guarded works and threads in C");
MODULE_LICENSE("GPL");
