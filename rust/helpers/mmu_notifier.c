// SPDX-License-Identifier: GPL-2.0
/* Helpers for MMU notifiers: rust/kernel/mm/mmu_notifier.rs and space.rs. */

#include <linux/kernel.h>
#include <linux/mmu_notifier.h>
#include <linux/workqueue.h>

/**
 * rust_helper_non_block_start() - Begins a section that must not sleep.
 *
 * Wraps non_block_start(), which is a macro. With CONFIG_DEBUG_ATOMIC_SLEEP, the kernel warns
 * about a sleep in the section.
 */
__rust_helper void rust_helper_non_block_start(void)
{
	non_block_start();
}

/**
 * rust_helper_non_block_end() - Ends a section that must not sleep.
 *
 * Wraps non_block_end(), which is a macro.
 */
__rust_helper void rust_helper_non_block_end(void)
{
	non_block_end();
}

/**
 * rust_helper_tether_init_work() - Initialises a work item.
 * @work: work
 * @func: function of the work
 *
 * Wraps INIT_WORK(), which is a macro. All work items that are initialised here share one lock
 * class.
 */
__rust_helper void rust_helper_tether_init_work(struct work_struct *work, work_func_t func)
{
	INIT_WORK(work, func);
}

/**
 * rust_helper_tether_queue_unbound_work() - Queues a work item on system_dfl_wq.
 * @work: work
 *
 * queue_work() is inline.
 *
 * Return: false if the work item was queued already.
 */
__rust_helper bool rust_helper_tether_queue_unbound_work(struct work_struct *work)
{
	return queue_work(system_dfl_wq, work);
}
