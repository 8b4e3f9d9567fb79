// SPDX-License-Identifier: GPL-2.0

#include <linux/kernel.h>
#include <linux/mmu_notifier.h>
#include <linux/workqueue.h>

__rust_helper void rust_helper_non_block_start(void)
{
	non_block_start();
}

__rust_helper void rust_helper_non_block_end(void)
{
	non_block_end();
}

__rust_helper void rust_helper_tether_init_work(struct work_struct *work, work_func_t func)
{
	INIT_WORK(work, func);
}

__rust_helper bool rust_helper_tether_queue_unbound_work(struct work_struct *work)
{
	return queue_work(system_unbound_wq, work);
}
