// SPDX-License-Identifier: GPL-2.0
/* The benchmark's work as a C driver does it today; or, as BENCH_GUARDED, as it should. */

#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/task_work.h>
#include <linux/vmalloc.h>

#include "bench.h"

#ifdef BENCH_GUARDED
#include "bench_shim.h"

static void *pins;

#define WORK struct guarded_work
#define INIT(work, func) guarded_init(work, pins, func)
#define ADD(work) guarded_add(current, work, TWA_RESUME)
#else
#define WORK struct callback_head
#define INIT(work, func) init_task_work(work, func)
#define ADD(work) task_work_add(current, work, TWA_RESUME)
#endif

struct item {
	unsigned long value;
	WORK work;
	refcount_t refs;
};

/* Items that are not in use. */
static struct item *pool[BENCH_MAX];
static unsigned long pooled;
static struct item *shared[BENCH_MAX];
static unsigned long sum;

static void embedded_run(WORK *work)
{
	struct item *item = container_of(work, struct item, work);

	sum += item->value;
	pool[pooled++] = item;
}

static void shared_run(WORK *work)
{
	struct item *item = container_of(work, struct item, work);

	sum += item->value;
	if (refcount_dec_and_test(&item->refs))
		kfree(item);
}

static void boxed_run(WORK *work)
{
	struct item *item = container_of(work, struct item, work);

	sum += item->value;
	kfree(item);
}

static int run_embedded(unsigned long count)
{
	while (count--) {
		struct item *item = pool[--pooled];
		int ret = ADD(&item->work);

		if (ret) {
			pool[pooled++] = item;
			return ret;
		}
	}
	return 0;
}

static int run_shared(unsigned long count)
{
	while (count--) {
		struct item *item = shared[count];
		int ret;

		refcount_inc(&item->refs);
		ret = ADD(&item->work);
		if (ret) {
			refcount_dec(&item->refs);
			return ret;
		}
	}
	return 0;
}

static int run_boxed(unsigned long count)
{
	while (count--) {
		struct item *item = kmalloc(sizeof(*item), GFP_KERNEL);
		int ret;

		if (!item)
			return -ENOMEM;
		item->value = count;
		INIT(&item->work, boxed_run);
		ret = ADD(&item->work);
		if (ret) {
			kfree(item);
			return ret;
		}
	}
	return 0;
}

static long bench_ioctl(struct file *file, unsigned int command, unsigned long count)
{
	if (count > BENCH_MAX)
		return -EINVAL;
	switch (command) {
	case BENCH_RUN(BENCH_NOTHING):
		return 0;
	case BENCH_RUN(BENCH_TASK_WORK_EMBEDDED):
		return run_embedded(count);
	case BENCH_RUN(BENCH_TASK_WORK_SHARED):
		return run_shared(count);
	case BENCH_RUN(BENCH_TASK_WORK_BOXED):
		return run_boxed(count);
	}
	return -ENOTTY;
}

static const struct file_operations bench_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = bench_ioctl,
};

static struct miscdevice bench_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = BENCH_NAME,
	.fops = &bench_fops,
};

static int __init bench_init(void)
{
	unsigned long i;

#ifdef BENCH_GUARDED
	pins = guarded_pins(THIS_MODULE);
	if (!pins)
		return -ENOMEM;
#endif
	for (i = 0; i < BENCH_MAX; i++) {
		struct item *item = kzalloc(sizeof(*item), GFP_KERNEL);
		struct item *other = kzalloc(sizeof(*item), GFP_KERNEL);

		if (!item || !other)
			return -ENOMEM;
		INIT(&item->work, embedded_run);
		INIT(&other->work, shared_run);
		refcount_set(&other->refs, 1);
		pool[pooled++] = item;
		shared[i] = other;
	}
	return misc_register(&bench_device);
}

static void __exit bench_exit(void)
{
	unsigned long i;

	misc_deregister(&bench_device);
	for (i = 0; i < BENCH_MAX; i++) {
		kfree(pool[i]);
		kfree(shared[i]);
	}
}

module_init(bench_init);
module_exit(bench_exit);

MODULE_DESCRIPTION("Benchmark: C");
MODULE_LICENSE("GPL");
