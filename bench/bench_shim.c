// SPDX-License-Identifier: GPL-2.0
/*
 * What C needs to give the guarantees that Tether gives for a task work: text that stays, which
 * calls the work's module and lets go of it afterwards, and accounts of what is pending.
 */

#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/task_work.h>

#include "bench_shim.h"

/* The pins are the same. */
#define __rust_helper static __maybe_unused
#include "../rust/helpers/tether.c"

/* A work cannot be queued by its own callback, which may have freed it: what runs is noted here. */
static struct guarded_work *running[64];

static struct guarded_work **running_slot(struct guarded_work *work)
{
	return &running[(unsigned long)work / 64 % ARRAY_SIZE(running)];
}

static noinline void guarded_run(struct callback_head *head)
{
	struct guarded_work *work = container_of(head, struct guarded_work, head);
	struct guarded_work **slot = running_slot(work);
	void *pins = work->pins;

	WRITE_ONCE(*slot, work);
	work->run(work);
	WRITE_ONCE(*slot, NULL);
	tether_unpin(pins);
}

void *guarded_pins(struct module *module)
{
	void *pins = rust_helper_tether_pins_new();

	if (pins)
		rust_helper_tether_pins_open(pins, module);
	return pins;
}
EXPORT_SYMBOL_GPL(guarded_pins);

void guarded_init(struct guarded_work *work, void *pins, void (*run)(struct guarded_work *work))
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
	ret = rust_helper_tether_task_work_add(task, &work->head, mode, work->pins);
	if (unlikely(ret == -ESRCH))
		tether_unpin(work->pins);
	return ret;
}
EXPORT_SYMBOL_GPL(guarded_add);

static int __init shim_init(void)
{
	return 0;
}
/* No exit: it stays. */
module_init(shim_init);

MODULE_DESCRIPTION("Benchmark: guarded task works in C");
MODULE_LICENSE("GPL");
