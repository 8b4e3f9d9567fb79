/* SPDX-License-Identifier: GPL-2.0 */
/* /dev/tether-test: ioctls by which user-space tests control task works. */
#ifndef _TETHER_TEST_H
#define _TETHER_TEST_H

#include <linux/ioctl.h>
#include <linux/types.h>

enum tether_test_mode {
	TETHER_TEST_NONE,
	TETHER_TEST_RESUME,
	TETHER_TEST_SIGNAL,
	TETHER_TEST_SIGNAL_NO_IPI,
	TETHER_TEST_SOON,	/* with TETHER_TEST_BOX only */
};

enum tether_test_kind {
	TETHER_TEST_BOX,
	TETHER_TEST_ARC,
	TETHER_TEST_CLOSURE,
	/* Adds an Arc twice. The ioctl returns the error of the second add. */
	TETHER_TEST_TWICE,
	/* An Arc or a box that its callback adds again; see requeue_error. */
	TETHER_TEST_REQUEUE,
	TETHER_TEST_REQUEUE_BOX,
	/* A box with a callback that adds a new box, "count" times. */
	TETHER_TEST_CHAIN,
	/* "count" items of all kinds in the file's queue, which belongs to the first tid. */
	TETHER_TEST_ORDERED,
	/* An Arc that the file keeps, for cancelling and waiting. */
	TETHER_TEST_KEEP_ARC,
	/* A closure that the file keeps, for cancelling and waiting. */
	TETHER_TEST_KEEP_CLOSURE,
	/*
	 * A box or an Arc with two fields. The callback of each field adds the item by the other
	 * field; see requeue_error.
	 */
	TETHER_TEST_TWO_FIELDS_BOX,
	TETHER_TEST_TWO_FIELDS_ARC,
	/*
	 * An Arc that the file keeps. Its callback waits for TETHER_TEST_OPEN_GATE, and then adds
	 * the item again; see requeue_error.
	 */
	TETHER_TEST_KEEP_BLOCKED,
};

/* The results of TETHER_TEST_CANCEL. */
enum tether_test_cancel {
	TETHER_TEST_CANCELLED,
	TETHER_TEST_TOO_LATE,
	TETHER_TEST_NOT_QUEUED,
};

struct tether_test_add {
	__s32 tid;		/* 0: the caller */
	__u32 mode;
	__u32 kind;
	__u32 count;
};

/* The arguments of the ioctls with two targets, a duration or a number of rounds. */
struct tether_test_race {
	__s32 tid;
	__s32 other;
	__u32 count;	/* milliseconds, or rounds */
	__u32 kind;	/* of TETHER_TEST_ADD_CANCEL; 0: closure, 1: Arc, 2: closure in a queue */
};

/* Counters since the module was loaded. */
struct tether_test_counts {
	__s64 made;
	__s64 ran;
	__s64 dropped;
	__s64 ran_exiting;
	__s64 ran_without_mm;
	__s64 ran_in_wrong_task;
	__s64 requeue_error;	/* the error of the last add in a callback */
	__s64 order_errors;	/* in a file's queue: items that ran before an earlier item */
	__s64 again;		/* in a file's queue: number of repeated adds of one item */
	__s64 starts;		/* notifier callbacks on the file's address space */
	__s64 ends;
	__s64 releases;
};

#define TETHER_TEST_ADD		_IOW(0xB9, 1, struct tether_test_add)
#define TETHER_TEST_COUNTS	_IOR(0xB9, 2, struct tether_test_counts)
#define TETHER_TEST_REGISTER	_IO(0xB9, 3)	/* a notifier on the caller's address space */
#define TETHER_TEST_UNREGISTER	_IO(0xB9, 4)
/* Cancels the kept closure, or the kept Arc on this tid; 0: the task that it was added to. */
#define TETHER_TEST_CANCEL	_IO(0xB9, 5)
/* Waits for the kept item, for this many milliseconds; 0: without a time-out. */
#define TETHER_TEST_WAIT	_IO(0xB9, 6)
/* Adds the kept Arc again. */
#define TETHER_TEST_ADD_AGAIN	_IO(0xB9, 7)
/* Lets the callbacks of TETHER_TEST_KEEP_BLOCKED return (1), or keeps them waiting (0). */
#define TETHER_TEST_OPEN_GATE	_IO(0xB9, 8)
/* Adds the kept Arc to this tid. */
#define TETHER_TEST_ADD_TO	_IO(0xB9, 9)
/*
 * Adds an Arc to "tid" and to "other" in turn and waits for it, while a thread cancels it on "tid".
 * Returns the number of adds to "other" after which the Arc did not run.
 */
#define TETHER_TEST_CANCEL_OTHER	_IOW(0xB9, 10, struct tether_test_race)
/* Waits for an Arc that runs on this tid and is then added to the waiting task. */
#define TETHER_TEST_WAIT_RETARGET	_IO(0xB9, 11)
/* Adds to "tid" and cancels in an interrupt; "other" is 0: directly, 1: through a queue. */
#define TETHER_TEST_INTERRUPTS	_IOW(0xB9, 12, struct tether_test_race)
/*
 * Adds to "tid" and cancels, at most "count" times. Returns the number of rounds before a refusal.
 */
#define TETHER_TEST_ADD_CANCEL	_IOW(0xB9, 13, struct tether_test_race)

enum tether_test_call {
	/* Waits until the call is done or a fatal signal arrives. */
	TETHER_TEST_CALL_KILLABLE,
	/* Waits for 200 ms. If the call is not done then, cancels it; returns 0 if it could. */
	TETHER_TEST_CALL_TIMEOUT,
	/* Waits for a closure, and for an Arc, without signals, for 200 ms. */
	TETHER_TEST_CALL_UNINTERRUPTIBLE,
	/* Waits in this way for two minutes, which is refused. */
	TETHER_TEST_CALL_TOO_LONG,
	/* Waits killably for an Arc. */
	TETHER_TEST_CALL_ARC,
};

/* Lets "tid" return its pid, with the wait "kind", an enum tether_test_call. */
#define TETHER_TEST_CALL	_IOW(0xB9, 14, struct tether_test_race)

#endif
