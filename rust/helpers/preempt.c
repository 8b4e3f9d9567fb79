// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers for the context of the caller: rust/kernel/tether/context.rs and
 * rust/kernel/mm/mmu_interval_notifier/read.rs.
 */

#include <linux/irqflags.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/uaccess.h>

/**
 * rust_helper_tether_in_task() - Tests for process context.
 *
 * Wraps in_task(), which is a macro.
 *
 * Return: true in process context.
 */
__rust_helper bool rust_helper_tether_in_task(void)
{
	return in_task();
}

/**
 * rust_helper_tether_may_lock() - Tests whether the caller may take a lock that is not taken in
 * interrupts, as far as the kernel can tell.
 *
 * Return: true in process context with interrupts enabled.
 */
__rust_helper bool rust_helper_tether_may_lock(void)
{
	return in_task() && !irqs_disabled();
}

/**
 * rust_helper_tether_preemptible() - Tests whether the current task can be preempted.
 *
 * Wraps preemptible(), which is a macro.
 *
 * Return: true if the current task can be preempted, as far as the kernel counts this.
 */
__rust_helper bool rust_helper_tether_preemptible(void)
{
	return preemptible();
}

/**
 * rust_helper_tether_may_sleep() - Tests whether the caller may sleep, as far as the kernel can
 * tell.
 *
 * The caller may also take a spinlock that is held with interrupts enabled. The result is false
 * in an interrupt, and with interrupts disabled, as under a spinlock that interrupts take. It is
 * also false while page faults are disabled, as in a closure that has a shadow locked: a wait there
 * may be for an invalidation, which needs the lock of the shadow.
 *
 * Return: true if the caller may sleep, as far as the kernel can tell.
 */
__rust_helper bool rust_helper_tether_may_sleep(void)
{
	return rust_helper_tether_may_lock() && !pagefault_disabled();
}

/**
 * rust_helper_tether_current_if_may_sleep() - Returns the current task if it may sleep.
 *
 * One call serves callers that need both answers.
 *
 * Return: the current task, or NULL if it may not sleep.
 */
__rust_helper struct task_struct *rust_helper_tether_current_if_may_sleep(void)
{
	return rust_helper_tether_may_sleep() ? current : NULL;
}
