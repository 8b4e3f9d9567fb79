/* SPDX-License-Identifier: GPL-2.0 */
/* /dev/test-kthread: threads that the tests in user space drive. */
#ifndef _TEST_KTHREAD_H
#define _TEST_KTHREAD_H

#include <linux/ioctl.h>
#include <linux/types.h>

enum kthread_test_body {
	/* Ticks every millisecond; its result is the longest time between two ticks, in ms. */
	KTHREAD_TEST_TICKER,
	/* Allows SIGUSR1; its result is the signal that ends it, 0 if it is stopped. */
	KTHREAD_TEST_SIGNAL,
	/*
	 * As KTHREAD_TEST_TICKER, but none of its sleeps lasts: its condition holds, its time is
	 * over.
	 */
	KTHREAD_TEST_BUSY,
};

enum kthread_test_flags {
	KTHREAD_TEST_FREEZABLE = 1,
	KTHREAD_TEST_PARKABLE = 2,
	KTHREAD_TEST_LONG_NAME = 4,
	/* A worker, whose work ticks. */
	KTHREAD_TEST_ON_WORKER = 8,
};

struct kthread_test_make {
	__u32 body;
	__u32 flags;
	__s32 node;		/* these four: -1 if it is not said */
	__s32 cpu;
	__s32 preferred;	/* a CPU */
	__s32 nice;		/* 20 and 21: FIFO, the low one first; -1 is said by 100 */
};

/* "count" threads one after the other; after a random time, they are stopped or joined. */
struct kthread_test_cycles {
	__u32 count;
	__u32 join;
	__u32 delay;		/* the longest, in us, of the thread and of who ends it */
	__u32 seed;
	__u32 ran;		/* out: how many bodies were called */
	__u32 reserved;
};

/* Threads that are parked, unparked, woken, asked to stop and dropped at random by others. */
struct kthread_test_storm {
	__u32 threads;
	__u32 milliseconds;
	__u32 seed;
	/* out */
	__u32 made;
	__u32 parked;
	__u32 busy;
	__u32 over;
	__u32 errors;		/* what is none of these */
};

/* A thread that reads and writes the caller's memory, each time in a scope of its own. */
struct kthread_test_mm {
	__u64 address;		/* of a __u32 */
	__u32 milliseconds;
	__u32 seen;		/* out: how often it was there */
	__u32 gone;		/* out: and how often it was not */
	__u32 errors;		/* out: what is neither */
};

/* What KTHREAD_TEST_KIND makes, uses and drops. */
enum kthread_test_kind {
	KTHREAD_TEST_THREAD,
	KTHREAD_TEST_BUILT,
	KTHREAD_TEST_WORKER,
	KTHREAD_TEST_CLOSURE,
	KTHREAD_TEST_FLUSH,
	KTHREAD_TEST_KINDS,
};

struct kthread_test_counts {
	__s64 made;
	__s64 dropped;
};

/* Makes a thread, which the file keeps, and returns its pid. */
#define KTHREAD_TEST_MAKE	_IOW(0xBB, 1, struct kthread_test_make)
/* Stops it, and returns its result. */
#define KTHREAD_TEST_STOP	_IO(0xBB, 2)
#define KTHREAD_TEST_JOIN	_IO(0xBB, 3)
#define KTHREAD_TEST_PARK	_IO(0xBB, 4)
#define KTHREAD_TEST_UNPARK	_IO(0xBB, 5)
#define KTHREAD_TEST_CYCLES	_IOWR(0xBB, 6, struct kthread_test_cycles)
#define KTHREAD_TEST_STORM	_IOWR(0xBB, 7, struct kthread_test_storm)
#define KTHREAD_TEST_MM		_IOWR(0xBB, 8, struct kthread_test_mm)
#define KTHREAD_TEST_KIND	_IO(0xBB, 9)
#define KTHREAD_TEST_COUNTS	_IOR(0xBB, 10, struct kthread_test_counts)

#endif
