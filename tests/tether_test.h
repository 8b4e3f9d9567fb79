/* SPDX-License-Identifier: GPL-2.0 */
/* /dev/tether-test: what the tests in user space drive. */
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
	/* An Arc, added twice: the ioctl's error is that of the second time. */
	TETHER_TEST_TWICE,
	/* An Arc, or a box, which its callback adds again; see requeue_error. */
	TETHER_TEST_REQUEUE,
	TETHER_TEST_REQUEUE_BOX,
	/* A box whose callback adds fresh ones, "count" times. */
	TETHER_TEST_CHAIN,
	/* "count" items of all kinds in the file's queue, which is that of the first tid. */
	TETHER_TEST_ORDERED,
	/* An Arc of the file's, to be cancelled and waited for. */
	TETHER_TEST_KEEP_ARC,
	/* Likewise a closure. */
	TETHER_TEST_KEEP_CLOSURE,
	/*
	 * A box, or an Arc, with two fields: the callback adds it by the other one; see
	 * requeue_error.
	 */
	TETHER_TEST_TWO_FIELDS_BOX,
	TETHER_TEST_TWO_FIELDS_ARC,
	/*
	 * An Arc of the file's, whose callback does not return before TETHER_TEST_OPEN_GATE, and
	 * then adds itself; see requeue_error.
	 */
	TETHER_TEST_KEEP_BLOCKED,
};

/* What TETHER_TEST_CANCEL returns. */
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

/* Two targets, or one, and a time; or how often. */
struct tether_test_race {
	__s32 tid;
	__s32 other;
	__u32 count;	/* milliseconds, or how often */
	__u32 kind;	/* of TETHER_TEST_ADD_CANCEL: closure, Arc, closure in a queue; else unused */
};

/* Counted since the module was loaded. */
struct tether_test_counts {
	__s64 made;
	__s64 ran;
	__s64 dropped;
	__s64 ran_exiting;
	__s64 ran_without_mm;
	__s64 ran_in_wrong_task;
	__s64 requeue_error;	/* of the last one */
	__s64 order_errors;	/* in a file's queue: items that ran before an earlier one */
	__s64 again;		/* in a file's queue: how often one item was added again */
	__s64 starts;		/* notifier callbacks on the file's address space */
	__s64 ends;
	__s64 releases;
};

#define TETHER_TEST_ADD		_IOW(0xB9, 1, struct tether_test_add)
#define TETHER_TEST_COUNTS	_IOR(0xB9, 2, struct tether_test_counts)
#define TETHER_TEST_REGISTER	_IO(0xB9, 3)	/* a notifier on the caller's address space */
#define TETHER_TEST_UNREGISTER	_IO(0xB9, 4)
/* Of what the file keeps: cancel it, on this tid if it is an Arc (0: the one it was added to). */
#define TETHER_TEST_CANCEL	_IO(0xB9, 5)
/* Wait for it, for this many milliseconds; without a limit if 0. */
#define TETHER_TEST_WAIT	_IO(0xB9, 6)
/* Add the kept Arc again. */
#define TETHER_TEST_ADD_AGAIN	_IO(0xB9, 7)
/* Lets the callbacks of TETHER_TEST_KEEP_BLOCKED return (1), or not (0). */
#define TETHER_TEST_OPEN_GATE	_IO(0xB9, 8)
/* Add the kept Arc to this tid. */
#define TETHER_TEST_ADD_TO	_IO(0xB9, 9)
/*
 * Adds an Arc to "tid" and to "other" in turn, and waits, while a thread cancels it on "tid".
 * Returns how often it did not run on "other".
 */
#define TETHER_TEST_CANCEL_OTHER	_IOW(0xB9, 10, struct tether_test_race)
/* Waits for an Arc that runs on this tid and is then added to the waiting task. */
#define TETHER_TEST_WAIT_RETARGET	_IO(0xB9, 11)
/* Adds to "tid" and cancels in an interrupt: directly if "other" is 0, by a queue if it is 1. */
#define TETHER_TEST_INTERRUPTS	_IOW(0xB9, 12, struct tether_test_race)
/*
 * Adds to "tid" and cancels, "count" times. Returns how often that was done before it was refused.
 */
#define TETHER_TEST_ADD_CANCEL	_IOW(0xB9, 13, struct tether_test_race)

#endif
