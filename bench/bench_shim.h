/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _BENCH_SHIM_H
#define _BENCH_SHIM_H

#include <linux/task_work.h>

struct guarded_work {
	struct callback_head head;
	void (*run)(struct guarded_work *work);
	void *pins;
	struct task_struct *target;
	unsigned int added;
};

void *guarded_pins(struct module *module);
void guarded_init(struct guarded_work *work, void *pins, void (*run)(struct guarded_work *work));
int guarded_add(struct task_struct *task, struct guarded_work *work,
		enum task_work_notify_mode mode);

#endif
