// SPDX-License-Identifier: GPL-2.0
/*
 * A module that unloads without unregistering its notifier, which safe code with Tether cannot do.
 * scripts/check-stale checks that the tests detect this.
 */

#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>

static int stale_start(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	return 0;
}

static const struct mmu_notifier_ops stale_ops = {
	.invalidate_range_start = stale_start,
};

static int __init stale_init(void)
{
	struct mmu_notifier *notifier;
	struct mmu_notifier_ops *ops;
	int ret;

	/* Keep the table and the notifier valid, so that only the text is freed. */
	ops = kmemdup(&stale_ops, sizeof(stale_ops), GFP_KERNEL);
	notifier = kzalloc_obj(*notifier);
	if (!ops || !notifier) {
		ret = -ENOMEM;
		goto err_free;
	}
	notifier->ops = ops;
	ret = mmu_notifier_register(notifier, current->mm);
	if (ret)
		goto err_free;
	return 0;

err_free:
	kfree(notifier);
	kfree(ops);
	return ret;
}
module_init(stale_init);

static void __exit stale_exit(void)
{
}
module_exit(stale_exit);

MODULE_DESCRIPTION("Test: leaks a notifier, as only C can");
MODULE_LICENSE("GPL");
