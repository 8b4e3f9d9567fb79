/* SPDX-License-Identifier: GPL-2.0 */
/* The operations of the benchmark's devices. */
#ifndef _BENCH_H
#define _BENCH_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* The maximum number of items. */
#define BENCH_MAX	4096
#define BENCH_BATCH	64
#define BENCH_NOTIFIERS_MAX	10000
#define BENCH_INTERVALS_MAX	16
#define BENCH_RANGES_MAX	100000
#define BENCH_RANGES_START	(1UL << 44)
/* The length of a range that covers the whole memory of the benchmark. */
#define BENCH_WHOLE		(1UL << 46)

/*
 * Each operation takes a number of items. The work is done when the ioctl has returned to user
 * space. A device without the operation returns ENOTTY.
 */
enum bench_operation {
	BENCH_NOTHING,
	/* Queue existing items on the calling task, and run them; each returns to the pool. */
	BENCH_TASK_WORK_EMBEDDED,
	/* Queue reference-counted items on the calling task, and run them. */
	BENCH_TASK_WORK_SHARED,
	/* Allocate items, queue them on the calling task, run and free them. */
	BENCH_TASK_WORK_BOXED,
	/* Create a thread, wait until its body has begun, stop the thread. */
	BENCH_KTHREAD_RUN_STOP,
	/* Park and unpark an existing thread. */
	BENCH_KTHREAD_PARK_UNPARK,
	/* Queue one work on an existing worker, and wait until it has run. */
	BENCH_WORKER_QUEUE_FLUSH,
	/* Queue BENCH_BATCH works, and wait until they have run; repeat this. */
	BENCH_WORKER_BATCH,
	/* Have this number of notifiers on the caller's address space, from none or to none. */
	BENCH_NOTIFIERS,
	/* Have this number of interval notifiers on the whole address space. */
	BENCH_INTERVALS,
	/* Begin a read section, and check that no invalidation came; needs an interval notifier. */
	BENCH_INTERVAL_READ,
	/* Insert and remove an interval notifier; needs another interval notifier. */
	BENCH_INTERVAL_INSERT_REMOVE,
	/* Get an existing shared notifier, and put it. */
	BENCH_SHARED_GET_PUT,
	/*
	 * Have this number of interval notifiers on the caller's address space, each on a page:
	 * BENCH_RANGES_START and every other page from there.
	 */
	BENCH_RANGES,
	/* Insert another interval notifier on the page of this number, and remove it. */
	BENCH_RANGE_INSERT,
	BENCH_RANGE_REMOVE,
	/* Make the calling thread the target of BENCH_TASK_WORK_ROUND_TRIP. */
	BENCH_BE_TARGET,
	/* Queue a work on the target in mode "signal", and wait until it has run. */
	BENCH_TASK_WORK_ROUND_TRIP,
	/* Return the size of an object in bytes: an enum bench_object. */
	BENCH_SIZE,
	BENCH_OPERATIONS,
};

/* The part of a driver's item that belongs to the facility. */
enum bench_object {
	BENCH_TASK_WORK,
	BENCH_KTHREAD_WORK,
	BENCH_NOTIFIER,
	/* Including the lock of its shadow. */
	BENCH_INTERVAL,
	BENCH_OBJECTS,
};

#define BENCH_RUN(operation)	_IO(0xBA, operation)

#endif
