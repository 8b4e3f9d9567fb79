/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _BENCH_SHIM_H
#define _BENCH_SHIM_H

#include <linux/kthread.h>
#include <linux/task_work.h>

struct guarded_work {
	struct callback_head head;
	void (*run)(struct guarded_work *work);
	struct pins *pins;
	struct task_struct *target;
	unsigned int added;
};

struct pins *guarded_pins(struct module *module);
void guarded_init(struct guarded_work *work, struct pins *pins,
		  void (*run)(struct guarded_work *work));
int guarded_add(struct task_struct *task, struct guarded_work *work,
		enum task_work_notify_mode mode);

struct guarded_threads;
struct guarded_thread;
struct guarded_worker;

struct guarded_kthread_work {
	void *bound;
	struct kthread_work work;
};

/* The threads of a module. Threads that still exist are stopped when the module is unloaded. */
struct guarded_threads *guarded_threads(void);
struct guarded_thread *guarded_thread_run(struct guarded_threads *threads,
					  void (*body)(struct guarded_thread *thread, void *data),
					  void *data);
int guarded_thread_stop(struct guarded_threads *threads, struct guarded_thread *thread);
/* Returns when the thread is asked to stop; parks meanwhile on request. */
void guarded_thread_sleep(struct guarded_thread *thread, bool parkable);
int guarded_thread_park(struct guarded_thread *thread);
void guarded_thread_unpark(struct guarded_thread *thread);

/* Another object that ends with its module. */
struct guarded_attachment {
	struct list_head links;
	bool attached;
};

int guarded_enter(struct guarded_threads *threads);
void guarded_leave(struct guarded_threads *threads);
void guarded_attach(struct guarded_threads *threads, struct guarded_attachment *attachment);
bool guarded_detach(struct guarded_threads *threads, struct guarded_attachment *attachment);

struct guarded_worker *guarded_worker_run(void);
int guarded_worker_queue(struct guarded_worker *worker, struct guarded_kthread_work *work);
int guarded_worker_flush(struct guarded_worker *worker);
void guarded_worker_destroy(struct guarded_worker *worker);

#endif
