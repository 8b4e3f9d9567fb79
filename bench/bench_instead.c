// SPDX-License-Identifier: GPL-2.0
/*
 * The benchmark's work by an alternative mechanism of C: a workqueue, which runs the work soon, but
 * in a kernel thread and not in the task.
 */

#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "bench.h"

struct item {
	unsigned long value;
	struct work_struct work;
	struct completion ran;
};

static struct workqueue_struct *queue;
/* The items that are not in use. */
static struct item *pool[BENCH_MAX];
static unsigned long pooled;
static struct item works[BENCH_BATCH];
static struct item round;
static unsigned long sum;

static void embedded_run(struct work_struct *work)
{
	struct item *item = container_of(work, struct item, work);

	sum += item->value;
	pool[pooled++] = item;
}

static void boxed_run(struct work_struct *work)
{
	struct item *item = container_of(work, struct item, work);

	sum += item->value;
	kfree(item);
}

static void work_run(struct work_struct *work)
{
	sum += container_of(work, struct item, work)->value;
}

static void round_run(struct work_struct *work)
{
	complete(&container_of(work, struct item, work)->ran);
}

static int run_embedded(unsigned long count)
{
	while (count--)
		queue_work(queue, &pool[--pooled]->work);
	flush_workqueue(queue);
	return 0;
}

static int run_boxed(unsigned long count)
{
	while (count--) {
		struct item *item = kmalloc_obj(*item);

		if (!item)
			return -ENOMEM;
		item->value = count;
		INIT_WORK(&item->work, boxed_run);
		queue_work(queue, &item->work);
	}
	flush_workqueue(queue);
	return 0;
}

static int round_trip(unsigned long count)
{
	while (count--) {
		queue_work(queue, &round.work);
		wait_for_completion(&round.ran);
	}
	return 0;
}

static int queue_flush(unsigned long count)
{
	while (count--) {
		queue_work(queue, &works[0].work);
		flush_work(&works[0].work);
	}
	return 0;
}

static int queue_batch(unsigned long count)
{
	while (count--) {
		unsigned long i;

		for (i = 0; i < BENCH_BATCH; i++)
			queue_work(queue, &works[i].work);
		flush_workqueue(queue);
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
	case BENCH_RUN(BENCH_TASK_WORK_BOXED):
		return run_boxed(count);
	case BENCH_RUN(BENCH_TASK_WORK_ROUND_TRIP):
		return round_trip(count);
	case BENCH_RUN(BENCH_WORKER_QUEUE_FLUSH):
		return queue_flush(count);
	case BENCH_RUN(BENCH_WORKER_BATCH):
		return queue_batch(count);
	case BENCH_RUN(BENCH_SIZE):
		if (count == BENCH_TASK_WORK || count == BENCH_KTHREAD_WORK)
			return sizeof(struct work_struct);
	}
	return -ENOTTY;
}

static const struct file_operations bench_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = bench_ioctl,
};

static struct miscdevice bench_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "bench-instead",
	.fops = &bench_fops,
};

static int __init bench_init(void)
{
	unsigned long i;

	queue = alloc_workqueue("bench", WQ_PERCPU, 0);
	if (!queue)
		return -ENOMEM;
	for (i = 0; i < BENCH_MAX; i++) {
		struct item *item = kzalloc_obj(*item);

		if (!item)
			return -ENOMEM;
		INIT_WORK(&item->work, embedded_run);
		pool[pooled++] = item;
	}
	for (i = 0; i < BENCH_BATCH; i++)
		INIT_WORK(&works[i].work, work_run);
	INIT_WORK(&round.work, round_run);
	init_completion(&round.ran);
	return misc_register(&bench_device);
}

static void __exit bench_exit(void)
{
	unsigned long i;

	misc_deregister(&bench_device);
	destroy_workqueue(queue);
	for (i = 0; i < BENCH_MAX; i++)
		kfree(pool[i]);
}

module_init(bench_init);
module_exit(bench_exit);

MODULE_DESCRIPTION("Benchmark: workqueues");
MODULE_LICENSE("GPL");
