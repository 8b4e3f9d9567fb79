/* SPDX-License-Identifier: GPL-2.0 */
/* /dev/test-torture: creates objects of all kinds, uses them, and ends them in all ways. */
#ifndef _TEST_TORTURE_H
#define _TEST_TORTURE_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* The number of objects of a file. */
#define TORTURE_SLOTS	16

enum torture_action {
	/* Creates an object of a kind. The previous object in the slot is dropped. */
	TORTURE_MAKE,
	TORTURE_USE,
	TORTURE_DROP,
	/* Ends the object by an operation of its type: wait, stop, join, cancel or detach. */
	TORTURE_FINISH,
	TORTURE_FORGET,
	/* Moves the object to the module, which drops it in its exit or earlier. */
	TORTURE_KEEP,
	/* Makes the target register a notifier on its own address space; the module owns it. */
	TORTURE_WATCH,
	TORTURE_ACTIONS,
};

struct torture {
	__u32 action;
	__u32 slot;
	__u32 kind;		/* the index in the ledger */
	__s32 target;		/* the pid of the target; 0: the caller */
	__u32 random;		/* selects the remaining options */
};

#define TORTURE	_IOW(0xBE, 1, struct torture)

#endif
