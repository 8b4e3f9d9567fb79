/* SPDX-License-Identifier: GPL-2.0 */
/* /dev/test-kthread: ioctls by which user-space tests control threads. */
#ifndef _TEST_KTHREAD_H
#define _TEST_KTHREAD_H

#include <linux/ioctl.h>
#include <linux/types.h>

enum kthread_test_body {
	/* Ticks every millisecond. The result is the longest time between two ticks, in ms. */
	KTHREAD_TEST_TICKER,
	/* Allows SIGUSR1. The result is the signal that ended the sleep, or 0 if it was stopped. */
	KTHREAD_TEST_SIGNAL,
	/*
	 * As KTHREAD_TEST_TICKER, but each sleep of the context ends at once: its condition is
	 * true, or its time is 0.
	 */
	KTHREAD_TEST_BUSY,
	/* As KTHREAD_TEST_TICKER, after it has set its own policy to FIFO. */
	KTHREAD_TEST_OWN_POLICY,
};

enum kthread_test_flags {
	KTHREAD_TEST_FREEZABLE = 1,
	KTHREAD_TEST_PARKABLE = 2,
	KTHREAD_TEST_LONG_NAME = 4,
	/* A worker with a work that ticks. */
	KTHREAD_TEST_ON_WORKER = 8,
};

struct kthread_test_make {
	__u32 body;
	__u32 flags;
	__s32 node;		/* node and the next two: -1 if not set */
	__s32 cpu;
	__s32 preferred;	/* the preferred CPU */
	__s32 nice;		/* a niceness; an enum kthread_test_policy; 100: not set */
};

enum kthread_test_policy {
	KTHREAD_TEST_FIFO_LOW = 20,
	KTHREAD_TEST_FIFO,
	/* A runtime of 1 ms in each 100 ms. */
	KTHREAD_TEST_DEADLINE,
	/* A deadline after the end of the period. */
	KTHREAD_TEST_LATE_DEADLINE,
	/* A negative runtime. */
	KTHREAD_TEST_NEGATIVE,
	/* No runtime. */
	KTHREAD_TEST_LITTLE,
	/* The whole time of a CPU. */
	KTHREAD_TEST_WHOLE_TIME,
};

/* Spawns "count" threads, one after the other, and stops or joins each after a random time. */
struct kthread_test_cycles {
	__u32 count;
	__u32 join;
	__u32 delay;		/* the maximum delay in us, of the thread and of its creator */
	__u32 seed;
	__u32 ran;		/* out: the number of bodies that were called */
	__u32 reserved;
};

/* Threads that other threads park, unpark, wake, ask to stop and drop at random. */
struct kthread_test_storm {
	__u32 threads;
	__u32 milliseconds;
	__u32 seed;
	/* out */
	__u32 made;
	__u32 parked;
	__u32 busy;
	__u32 over;
	__u32 errors;		/* all other results */
};

/* A thread that reads and writes the caller's memory, each time in a new call of with_mm(). */
struct kthread_test_mm {
	__u64 address;		/* of a __u32 */
	__u32 milliseconds;
	__u32 seen;		/* out: the number of accesses that succeeded */
	__u32 gone;		/* out: the number of accesses that failed with EFAULT */
	__u32 errors;		/* out: all other results */
};

/* The objects that KTHREAD_TEST_KIND creates, uses and drops. */
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

/* Creates a thread that the file owns, and returns its pid. */
#define KTHREAD_TEST_MAKE	_IOW(0xBB, 1, struct kthread_test_make)
/* Stops the thread, and returns its result. */
#define KTHREAD_TEST_STOP	_IO(0xBB, 2)
#define KTHREAD_TEST_JOIN	_IO(0xBB, 3)
#define KTHREAD_TEST_PARK	_IO(0xBB, 4)
#define KTHREAD_TEST_UNPARK	_IO(0xBB, 5)
#define KTHREAD_TEST_CYCLES	_IOWR(0xBB, 6, struct kthread_test_cycles)
#define KTHREAD_TEST_STORM	_IOWR(0xBB, 7, struct kthread_test_storm)
#define KTHREAD_TEST_MM		_IOWR(0xBB, 8, struct kthread_test_mm)
#define KTHREAD_TEST_KIND	_IO(0xBB, 9)
#define KTHREAD_TEST_COUNTS	_IOR(0xBB, 10, struct kthread_test_counts)
/* Sets the policy of the thread or worker; the argument is as in struct kthread_test_make. */
#define KTHREAD_TEST_SET_POLICY	_IO(0xBB, 11)
/* Sends a signal to the thread. */
#define KTHREAD_TEST_SEND	_IO(0xBB, 12)

#endif
