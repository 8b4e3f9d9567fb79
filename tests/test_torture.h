/* SPDX-License-Identifier: GPL-2.0 */
/* /dev/test-torture: makes one of everything, uses it, and ends it in all ways. */
#ifndef _TEST_TORTURE_H
#define _TEST_TORTURE_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* How many things a file has. */
#define TORTURE_SLOTS	16

enum torture_action {
	/* Makes something of a kind; what was in the slot is dropped. */
	TORTURE_MAKE,
	TORTURE_USE,
	TORTURE_DROP,
	/* Ends it in another way: waits, stops, joins, cancels, detaches. */
	TORTURE_FINISH,
	TORTURE_FORGET,
	/* Leaves it to the module, which drops it in its exit, if not before. */
	TORTURE_KEEP,
	/* Has the target register a notifier on its own address space, which the module keeps. */
	TORTURE_WATCH,
	TORTURE_ACTIONS,
};

struct torture {
	__u32 action;
	__u32 slot;
	__u32 kind;		/* its place in the ledger */
	__s32 target;		/* the task; 0 is the caller */
	__u32 random;		/* decides what is left open */
};

#define TORTURE	_IOW(0xBE, 1, struct torture)

#endif
