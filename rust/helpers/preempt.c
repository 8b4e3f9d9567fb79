// SPDX-License-Identifier: GPL-2.0

#include <linux/irqflags.h>
#include <linux/preempt.h>
#include <linux/sched.h>

__rust_helper bool rust_helper_tether_in_task(void)
{
	return in_task();
}

/*
 * Whether the caller may sleep, and take a spinlock that interrupts do not take, as far as the
 * kernel can tell: not in an interrupt, nor with interrupts disabled, as under a spinlock that
 * interrupts take as well.
 */
__rust_helper bool rust_helper_tether_may_sleep(void)
{
	return in_task() && !irqs_disabled();
}

/* The current task, or NULL where it may not sleep: one call, where both are asked for. */
__rust_helper struct task_struct *rust_helper_tether_current_if_may_sleep(void)
{
	return rust_helper_tether_may_sleep() ? current : NULL;
}
