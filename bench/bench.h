/* SPDX-License-Identifier: GPL-2.0 */
/* What the benchmark's devices can be asked to do. */
#ifndef _BENCH_H
#define _BENCH_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* How many items there are at the most. */
#define BENCH_MAX	4096
#define BENCH_BATCH	64
#define BENCH_NOTIFIERS_MAX	10000
#define BENCH_INTERVALS_MAX	16
#define BENCH_RANGES_MAX	100000
#define BENCH_RANGES_START	(1UL << 44)
/* A range that all of an address space is in. */
#define BENCH_WHOLE		(1UL << 46)

/*
 * Each takes a number of items; the work is done when the call has returned to user space. A
 * device that has no such operation answers ENOTTY.
 */
enum bench_operation {
	BENCH_NOTHING,
	/* Queue items on oneself that are there, and run them; each goes back to where it was. */
	BENCH_TASK_WORK_EMBEDDED,
	/* Likewise, but what is shared by counting references. */
	BENCH_TASK_WORK_SHARED,
	/* Allocate, queue on oneself, run, free. */
	BENCH_TASK_WORK_BOXED,
	/* Make a thread, wait until its body has begun, stop it. */
	BENCH_KTHREAD_RUN_STOP,
	/* Park and unpark a thread that is there. */
	BENCH_KTHREAD_PARK_UNPARK,
	/* Queue one work on a worker that is there, and wait until it has run. */
	BENCH_WORKER_QUEUE_FLUSH,
	/* Queue BENCH_BATCH, and wait until they have run; so many times. */
	BENCH_WORKER_BATCH,
	/* Have so many notifiers on the caller's address space, from none or to none. */
	BENCH_NOTIFIERS,
	/* Likewise interval notifiers, on all of it. */
	BENCH_INTERVALS,
	/* Begin a read section and see that nothing was invalidated; with one interval notifier. */
	BENCH_INTERVAL_READ,
	/* Insert an interval notifier and remove it; with another one. */
	BENCH_INTERVAL_INSERT_REMOVE,
	/* Get a shared notifier that is there, and put it. */
	BENCH_SHARED_GET_PUT,
	/*
	 * Have so many interval notifiers on the caller's address space, each on a page of its own,
	 * BENCH_RANGES_START and every other page from there.
	 */
	BENCH_RANGES,
	/* Insert one more, on the page of that number; and remove it. */
	BENCH_RANGE_INSERT,
	BENCH_RANGE_REMOVE,
	/* The calling thread is the one that works of others are queued on. */
	BENCH_BE_TARGET,
	/* Queue one on that thread, as a signal would come, and wait until it has run. */
	BENCH_TASK_WORK_ROUND_TRIP,
	/* How many bytes an object takes: an enum bench_object. */
	BENCH_SIZE,
	BENCH_OPERATIONS,
};

/* What is part of an item of the driver's. */
enum bench_object {
	BENCH_TASK_WORK,
	BENCH_KTHREAD_WORK,
	BENCH_NOTIFIER,
	/* With the lock that its shadow is used under. */
	BENCH_INTERVAL,
	BENCH_OBJECTS,
};

#define BENCH_RUN(operation)	_IO(0xBA, operation)

#endif
