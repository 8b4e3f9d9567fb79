// SPDX-License-Identifier: GPL-2.0
/* The benchmark's work in C, as drivers do it; with BENCH_GUARDED, with Tether's guarantees. */

#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/task_work.h>
#include <linux/vmalloc.h>

#include "bench.h"

#ifdef BENCH_GUARDED
#include "bench_shim.h"

static struct pins *pins;

#define WORK struct guarded_work
#define INIT(work, func) guarded_init(work, pins, func)
#define ADD_TO(task, work, mode) guarded_add(task, work, mode)
#else
#define WORK struct callback_head
#define INIT(work, func) init_task_work(work, func)
#define ADD_TO(task, work, mode) task_work_add(task, work, mode)
#endif
#define ADD(work) ADD_TO(current, work, TWA_RESUME)

struct item {
	unsigned long value;
	WORK work;
	refcount_t refs;
};

/* The items that are not in use. */
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

static noinline int run_embedded(unsigned long count)
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

static noinline int run_shared(unsigned long count)
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

static noinline int run_boxed(unsigned long count)
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

static struct task_struct *target;
static struct {
	WORK work;
	struct completion ran;
} round;

static noinline int be_target(void)
{
	if (target)
		return -EBUSY;
	target = get_task_struct(current);
	return 0;
}

static void round_run(WORK *work)
{
	complete(&round.ran);
}

static noinline int round_trip(unsigned long count)
{
	if (!target)
		return -ESRCH;
	while (count--) {
		int ret = ADD_TO(target, &round.work, TWA_SIGNAL);

		if (ret)
			return ret;
		wait_for_completion(&round.ran);
	}
	return 0;
}

#ifdef BENCH_GUARDED
static struct guarded_threads *threads;
#define THREAD struct guarded_thread
#define WORKER struct guarded_worker
#define KTHREAD_WORK struct guarded_kthread_work
#define THREAD_RUN(body, data) guarded_thread_run(threads, body, data)
#define THREAD_STOP(thread) guarded_thread_stop(threads, thread)
#define THREAD_PARK(thread) guarded_thread_park(thread)
#define THREAD_UNPARK(thread) guarded_thread_unpark(thread)
#define WORKER_RUN() guarded_worker_run()
#define WORKER_QUEUE(worker, work) guarded_worker_queue(worker, work)
#define WORKER_FLUSH(worker) guarded_worker_flush(worker)
#define WORKER_DESTROY(worker) guarded_worker_destroy(worker)
#define BARE(guarded) (&(guarded)->work)

static void until_stopped(struct guarded_thread *thread, void *data)
{
	complete(data);
	guarded_thread_sleep(thread, false);
}

static void until_stopped_or_parked(struct guarded_thread *thread, void *data)
{
	guarded_thread_sleep(thread, true);
}
#else
#define THREAD struct task_struct
#define WORKER struct kthread_worker
#define KTHREAD_WORK struct kthread_work
#define THREAD_RUN(body, data) kthread_run(body, data, "%s", "bench")
#define THREAD_STOP(thread) kthread_stop(thread)
#define THREAD_PARK(thread) kthread_park(thread)
#define THREAD_UNPARK(thread) kthread_unpark(thread)
#define WORKER_RUN() kthread_run_worker(0, "%s", "bench")
#define WORKER_QUEUE(worker, work) (kthread_queue_work(worker, work) ? 0 : -EBUSY)
#define WORKER_FLUSH(worker) (kthread_flush_worker(worker), 0)
#define WORKER_DESTROY(worker) kthread_destroy_worker(worker)
#define BARE(work) (work)

static int until_stopped(void *data)
{
	complete(data);
	for (;;) {
		set_current_state(TASK_IDLE);
		if (kthread_should_stop())
			break;
		schedule();
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

static int until_stopped_or_parked(void *data)
{
	for (;;) {
		set_current_state(TASK_IDLE);
		if (kthread_should_stop())
			break;
		if (kthread_should_park()) {
			__set_current_state(TASK_RUNNING);
			kthread_parkme();
			continue;
		}
		schedule();
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}
#endif

static THREAD *parkable;
static WORKER *worker;
static struct bench_work {
	unsigned long value;
	KTHREAD_WORK work;
} works[BENCH_BATCH];

static void work_run(struct kthread_work *kthread_work)
{
	struct bench_work *work = container_of(kthread_work, struct bench_work,
#ifdef BENCH_GUARDED
					       work.work);
#else
					       work);
#endif

	sum += work->value;
}

static noinline int run_stop(unsigned long count)
{
	while (count--) {
		DECLARE_COMPLETION_ONSTACK(begun);
		THREAD *thread = THREAD_RUN(until_stopped, &begun);

		if (IS_ERR(thread))
			return PTR_ERR(thread);
		wait_for_completion(&begun);
		THREAD_STOP(thread);
	}
	return 0;
}

static noinline int park_unpark(unsigned long count)
{
	while (count--) {
		int ret = THREAD_PARK(parkable);

		if (ret)
			return ret;
		THREAD_UNPARK(parkable);
	}
	return 0;
}

static noinline int queue_flush(unsigned long count)
{
	while (count--) {
		int ret = WORKER_QUEUE(worker, &works[0].work);

		ret = ret ?: WORKER_FLUSH(worker);
		if (ret)
			return ret;
	}
	return 0;
}

static noinline int queue_batch(unsigned long count)
{
	while (count--) {
		unsigned long i;
		int ret;

		for (i = 0; i < BENCH_BATCH; i++) {
			ret = WORKER_QUEUE(worker, &works[i].work);
			if (ret)
				return ret;
		}
		ret = WORKER_FLUSH(worker);
		if (ret)
			return ret;
	}
	return 0;
}

static int prepare_threads(void)
{
	unsigned long i;

#ifdef BENCH_GUARDED
	threads = guarded_threads();
	if (!threads)
		return -ENOMEM;
#endif
	for (i = 0; i < BENCH_BATCH; i++)
		kthread_init_work(BARE(&works[i].work), work_run);
	parkable = THREAD_RUN(until_stopped_or_parked, NULL);
	if (IS_ERR(parkable))
		return PTR_ERR(parkable);
	worker = WORKER_RUN();
	return PTR_ERR_OR_ZERO(worker);
}

#ifdef BENCH_GUARDED
#define ATTACHMENT struct guarded_attachment attachment
#define ENTER() guarded_enter(threads)
#define LEAVE() guarded_leave(threads)
#define ATTACH(it) guarded_attach(threads, &(it)->attachment)
#define DETACH(it) guarded_detach(threads, &(it)->attachment)
#else
#define ATTACHMENT struct { } attachment
#define ENTER() 0
#define LEAVE() do { } while (0)
#define ATTACH(it) do { } while (0)
#define DETACH(it) true
#endif

static struct notifier {
	struct mmu_notifier notifier;
	unsigned long starts, ends;
	ATTACHMENT;
} *notifiers;

static int notifier_start(struct mmu_notifier *mmu_notifier, const struct mmu_notifier_range *range)
{
	struct notifier *notifier = container_of(mmu_notifier, struct notifier, notifier);

	notifier->starts += range->end - range->start;
	return 0;
}

static void notifier_end(struct mmu_notifier *mmu_notifier, const struct mmu_notifier_range *range)
{
	struct notifier *notifier = container_of(mmu_notifier, struct notifier, notifier);

	notifier->ends += range->end - range->start;
}

static const struct mmu_notifier_ops notifier_ops = {
	.invalidate_range_start = notifier_start,
	.invalidate_range_end = notifier_end,
};

static noinline int have_notifiers(unsigned long count)
{
	static unsigned long have;
	int ret;

	if (!notifiers)
		notifiers = kvcalloc(BENCH_NOTIFIERS_MAX, sizeof(*notifiers), GFP_KERNEL);
	if (!notifiers)
		return -ENOMEM;
	for (; have < count; have++) {
		struct notifier *it = &notifiers[have];

		ret = ENTER();
		if (ret)
			return ret;
		memset(it, 0, sizeof(*it));
		it->notifier.ops = &notifier_ops;
		ret = mmu_notifier_register(&it->notifier, current->mm);
		if (!ret)
			ATTACH(it);
		LEAVE();
		if (ret)
			return ret;
	}
	for (; have > count; have--) {
		struct notifier *it = &notifiers[have - 1];

		if (DETACH(it)) {
			mmu_notifier_unregister(&it->notifier, current->mm);
			LEAVE();
		}
	}
	return 0;
}

static struct interval {
	struct mmu_interval_notifier notifier;
	/* Protects the shadow. */
	struct mutex lock;
	unsigned long shadow;
	ATTACHMENT;
} intervals[BENCH_INTERVALS_MAX + 1];

static bool interval_invalidate(struct mmu_interval_notifier *interval_notifier,
				const struct mmu_notifier_range *range, unsigned long sequence)
{
	struct interval *interval = container_of(interval_notifier, struct interval, notifier);

	if (mmu_notifier_range_blockable(range))
		mutex_lock(&interval->lock);
	else if (!mutex_trylock(&interval->lock))
		return false;
	mmu_interval_set_seq(interval_notifier, sequence);
	interval->shadow += range->end - range->start;
	mutex_unlock(&interval->lock);
	return true;
}

static const struct mmu_interval_notifier_ops interval_ops = {
	.invalidate = interval_invalidate,
};

static int interval_insert(struct interval *it, unsigned long start, unsigned long length)
{
	int ret = ENTER();

	if (ret)
		return ret;
	mutex_init(&it->lock);
	ret = mmu_interval_notifier_insert(&it->notifier, current->mm, start, length,
					   &interval_ops);
	if (!ret)
		ATTACH(it);
	LEAVE();
	return ret;
}

static void interval_remove(struct interval *it)
{
	if (DETACH(it)) {
		mmu_interval_notifier_remove(&it->notifier);
		LEAVE();
	}
}

static noinline int have_intervals(unsigned long count)
{
	static unsigned long have;

	for (; have < count; have++) {
		int ret = interval_insert(&intervals[have], 0, BENCH_WHOLE);

		if (ret)
			return ret;
	}
	for (; have > count; have--)
		interval_remove(&intervals[have - 1]);
	return 0;
}

static noinline int interval_read(unsigned long count)
{
	struct interval *it = &intervals[0];

	/* In a driver, the compiler does not know this pointer. */
	OPTIMIZER_HIDE_VAR(it);
	while (count--) {
		unsigned long sequence = mmu_interval_read_begin(&it->notifier);

		mutex_lock(&it->lock);
		if (!mmu_interval_read_retry(&it->notifier, sequence))
			it->shadow += count;
		mutex_unlock(&it->lock);
	}
	return 0;
}

static noinline int interval_insert_remove(unsigned long count)
{
	struct interval *it = kmalloc_obj(*it);
	int ret = it ? 0 : -ENOMEM;

	while (count-- && !ret) {
		ret = interval_insert(it, 0, BENCH_WHOLE);
		if (!ret)
			interval_remove(it);
	}
	kfree(it);
	return ret;
}

struct shared {
	struct mmu_notifier notifier;
	ATTACHMENT;
};

static struct mmu_notifier *shared_alloc(struct mm_struct *mm)
{
	struct shared *it = kzalloc(sizeof(*it), GFP_KERNEL);

	if (!it)
		return ERR_PTR(-ENOMEM);
	ATTACH(it);
	return &it->notifier;
}

static void shared_free(struct mmu_notifier *notifier)
{
	struct shared *it = container_of(notifier, struct shared, notifier);

	if (DETACH(it)) {
		kfree(it);
		LEAVE();
	}
}

static const struct mmu_notifier_ops shared_ops = {
	.alloc_notifier = shared_alloc,
	.free_notifier = shared_free,
	.invalidate_range_start = NULL,
};

/* The module must stay loaded while its notifier is being created. */
static struct mmu_notifier *shared_get(void)
{
	struct mmu_notifier *got;
	int ret = ENTER();

	if (ret)
		return ERR_PTR(ret);
	got = mmu_notifier_get(&shared_ops, current->mm);
	LEAVE();
	return got;
}

static noinline int shared_get_put(unsigned long count)
{
	struct mmu_notifier *held = shared_get();

	if (IS_ERR(held))
		return PTR_ERR(held);
	while (count--) {
		struct mmu_notifier *got = shared_get();

		if (IS_ERR(got))
			return PTR_ERR(got);
		mmu_notifier_put(got);
	}
	mmu_notifier_put(held);
	return 0;
}

/* The start of a range of one page. The ranges cover every other page. */
#define RANGE_START(index) (BENCH_RANGES_START + (index) * 2 * PAGE_SIZE)

static struct interval *ranges;
static unsigned long have;

static noinline int have_ranges(unsigned long count)
{
	int ret;

	if (!ranges)
		ranges = kvcalloc(BENCH_RANGES_MAX, sizeof(*ranges), GFP_KERNEL);
	if (!ranges)
		return -ENOMEM;
	for (; have < count; have++) {
		ret = interval_insert(&ranges[have], RANGE_START(have), PAGE_SIZE);
		if (ret)
			return ret;
	}
	for (; have > count; have--)
		interval_remove(&ranges[have - 1]);
	return 0;
}

static noinline int range_insert(unsigned long index)
{
	return interval_insert(&intervals[BENCH_INTERVALS_MAX], RANGE_START(index), PAGE_SIZE);
}

static noinline int range_remove(void)
{
	interval_remove(&intervals[BENCH_INTERVALS_MAX]);
	return 0;
}

static int object_size(unsigned long object)
{
	switch (object) {
	case BENCH_TASK_WORK:
		return sizeof(WORK);
	case BENCH_KTHREAD_WORK:
		return sizeof(KTHREAD_WORK);
	case BENCH_NOTIFIER:
		return sizeof(struct mmu_notifier) + sizeof_field(struct notifier, attachment);
	case BENCH_INTERVAL:
		return sizeof(struct interval) - sizeof_field(struct interval, shadow);
	}
	return -EINVAL;
}

static unsigned long most(unsigned int command)
{
	switch (command) {
	case BENCH_RUN(BENCH_NOTIFIERS):
		return BENCH_NOTIFIERS_MAX;
	case BENCH_RUN(BENCH_RANGES):
	case BENCH_RUN(BENCH_RANGE_INSERT):
		return BENCH_RANGES_MAX;
	}
	return BENCH_MAX;
}

static long bench_ioctl(struct file *file, unsigned int command, unsigned long count)
{
	if (count > most(command))
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
	case BENCH_RUN(BENCH_KTHREAD_RUN_STOP):
		return run_stop(count);
	case BENCH_RUN(BENCH_KTHREAD_PARK_UNPARK):
		return park_unpark(count);
	case BENCH_RUN(BENCH_WORKER_QUEUE_FLUSH):
		return queue_flush(count);
	case BENCH_RUN(BENCH_WORKER_BATCH):
		return queue_batch(count);
	case BENCH_RUN(BENCH_NOTIFIERS):
		return have_notifiers(count);
	case BENCH_RUN(BENCH_INTERVALS):
		return have_intervals(min(count, BENCH_INTERVALS_MAX));
	case BENCH_RUN(BENCH_INTERVAL_READ):
		return interval_read(count);
	case BENCH_RUN(BENCH_INTERVAL_INSERT_REMOVE):
		return interval_insert_remove(count);
	case BENCH_RUN(BENCH_SHARED_GET_PUT):
		return shared_get_put(count);
	case BENCH_RUN(BENCH_RANGES):
		return have_ranges(count);
	case BENCH_RUN(BENCH_RANGE_INSERT):
		return range_insert(count);
	case BENCH_RUN(BENCH_RANGE_REMOVE):
		return range_remove();
	case BENCH_RUN(BENCH_BE_TARGET):
		return be_target();
	case BENCH_RUN(BENCH_TASK_WORK_ROUND_TRIP):
		return round_trip(count);
	case BENCH_RUN(BENCH_SIZE):
		return object_size(count);
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
	int ret;

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
	INIT(&round.work, round_run);
	init_completion(&round.ran);
	ret = prepare_threads();
	if (ret)
		return ret;
	return misc_register(&bench_device);
}

static void __exit bench_exit(void)
{
	unsigned long i;

	misc_deregister(&bench_device);
	THREAD_STOP(parkable);
	WORKER_DESTROY(worker);
	if (target)
		put_task_struct(target);
	mmu_notifier_synchronize();
	kvfree(notifiers);
	kvfree(ranges);
	for (i = 0; i < BENCH_MAX; i++) {
		kfree(pool[i]);
		kfree(shared[i]);
	}
}

module_init(bench_init);
module_exit(bench_exit);

MODULE_DESCRIPTION("Benchmark: C");
MODULE_LICENSE("GPL");
