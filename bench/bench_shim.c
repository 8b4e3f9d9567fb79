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

static noinline void guarded_run(struct callback_head *head)
{
	struct guarded_work *work = container_of(head, struct guarded_work, head);
	void *pins = work->pins;

	work->run(work);
	tether_unpin(pins);
}

void *guarded_pins(struct module *module)
{
	void *pins = rust_helper_tether_pins_new();

	if (pins)
		rust_helper_tether_pins_set(pins, module, false);
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

	if (unlikely(READ_ONCE(task->flags) & PF_KTHREAD))
		return -EINVAL;
	WRITE_ONCE(work->target, task);
	work->added = jiffies;
	if (unlikely(!tether_pin(work->pins)))
		return -ENODEV;
	ret = task_work_add(task, &work->head, mode);
	if (unlikely(ret))
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
