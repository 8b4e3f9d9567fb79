// SPDX-License-Identifier: GPL-2.0
/*
 * Initialises Tether, and calls it for each module before the module's first instruction runs and
 * after its last instruction has run.
 *
 * There is no module exit: the kernel calls functions in the text of this module on behalf of
 * other modules, so that the text must stay mapped. "rmmod tether" fails with EBUSY.
 */

#include <linux/init.h>
#include <linux/module.h>
#include <linux/notifier.h>

#include "tether_main.h"

static int tether_module_notify(struct notifier_block *block, unsigned long state, void *data)
{
	struct module *module = data;
	int ret;

	switch (state) {
	case MODULE_STATE_COMING:
		ret = tether_module_coming(module, (unsigned long)module->mem[MOD_TEXT].base,
					   module->mem[MOD_TEXT].size);
		return notifier_from_errno(ret);
	case MODULE_STATE_GOING:
		tether_module_going(module);
		break;
	}
	return NOTIFY_OK;
}

static struct notifier_block tether_module_notifier = {
	.notifier_call = tether_module_notify,
	/* Run before notifiers that free data which threads or callbacks of the module may use. */
	.priority = INT_MAX,
};

static int __init tether_main(void)
{
	int ret = tether_init();

	if (!ret)
		ret = tether_task_work_init();
	if (!ret)
		ret = tether_kthread_init();
	if (!ret && IS_ENABLED(CONFIG_MMU_NOTIFIER))
		ret = tether_mmu_notifier_init();
	if (!ret)
		ret = register_module_notifier(&tether_module_notifier);
	return ret;
}
module_init(tether_main);

MODULE_DESCRIPTION("Safe Rust abstractions for code that is tied to a task or an address space");
MODULE_LICENSE("GPL");
