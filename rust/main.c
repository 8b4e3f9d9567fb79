// SPDX-License-Identifier: GPL-2.0
/*
 * Where Tether begins: it must know of every module before that module's first instruction, and
 * hear of its end after its last.
 *
 * There is no exit: what the kernel calls on behalf of other modules is in this module's text, so
 * it stays. "rmmod tether" says that it is busy.
 */

#include <linux/init.h>
#include <linux/module.h>
#include <linux/notifier.h>

int tether_init(void);
int tether_module_coming(struct module *module, unsigned long start, unsigned long size);
void tether_module_going(struct module *module);

static int tether_module_notify(struct notifier_block *block, unsigned long state, void *data)
{
	struct module *module = data;

	switch (state) {
	case MODULE_STATE_COMING:
		return notifier_from_errno(
			tether_module_coming(module,
					     (unsigned long)module->mem[MOD_TEXT].base,
					     module->mem[MOD_TEXT].size));
	case MODULE_STATE_GOING:
		tether_module_going(module);
		break;
	}
	return NOTIFY_OK;
}

static struct notifier_block tether_module_notifier = {
	.notifier_call = tether_module_notify,
	/* Before anybody who takes apart what a thread or a notifier of the module may use. */
	.priority = INT_MAX,
};

static int __init tether_main(void)
{
	int ret = tether_init();

	return ret ?: register_module_notifier(&tether_module_notifier);
}
module_init(tether_main);

MODULE_DESCRIPTION("Safe Rust abstractions for code that is tied to a task or an address space");
MODULE_LICENSE("GPL");
