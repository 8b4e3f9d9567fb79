// SPDX-License-Identifier: GPL-2.0

#include <linux/preempt.h>
#include <linux/sched.h>

__rust_helper bool rust_helper_tether_in_task(void)
{
	return in_task();
}

/* The current task, or NULL in an interrupt: one call, where both are asked for. */
__rust_helper struct task_struct *rust_helper_tether_current_in_task(void)
{
	return in_task() ? current : NULL;
}
