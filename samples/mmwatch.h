/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * mmwatch: see an address space change.
 *
 * A file of /dev/mmwatch watches one address space: that of the process which asks (pid 0), as it
 * is at that moment, or that of a process which the asking task traces and has stopped.
 *
 *   read()   gives whole events, as many as fit; it waits for the first one unless O_NONBLOCK. 0 is
 *            the end: the address space is gone, and all that happened in it was read.
 *   poll()   POLLIN: there are events. POLLHUP: the end. POLLERR: nothing is watched.
 *   mmap()   gives the counters of ranges, see MMWATCH_ADD_RANGE.
 *
 * Only the process that asked may use the file: for a forked child, and after the process has
 * executed another program, everything fails with ESTALE.
 */
#ifndef _MMWATCH_H
#define _MMWATCH_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* How many address spaces may be watched at one time, in all. */
#define MMWATCH_MAX_WATCHES	64

/*
 * How many events wait for a reader, at most. What does not fit is dropped; but it is counted, and
 * its number is in MMWATCH_STATUS and in an MMWATCH_DROPPED event.
 */
#define MMWATCH_MAX_EVENTS	32768

/* How many ranges there may be at one time, in all. */
#define MMWATCH_MAX_RANGES	131072

/* Kinds of events: the first are those of enum mmu_notifier_event. */
enum mmwatch_kind {
	MMWATCH_UNMAP,
	MMWATCH_CLEAR,
	MMWATCH_PROTECTION_VMA,
	MMWATCH_PROTECTION_PAGE,
	MMWATCH_SOFT_DIRTY,
	MMWATCH_RELEASE,	/* the address space is gone */
	MMWATCH_MIGRATE,
	MMWATCH_EXCLUSIVE,
	MMWATCH_OTHER,
	MMWATCH_DROPPED,	/* "start" events were dropped before the one that comes next */
	MMWATCH_EXEC,		/* with MMWATCH_FOLLOW: what comes next is of the new program */
	MMWATCH_NOT_FOLLOWED,	/* the same, but it is not watched; "start" is the errno */
};

/* The one who invalidated could wait. */
#define MMWATCH_BLOCKABLE	(1 << 0)
/* With MMWATCH_RELEASE: the process goes on, it has executed another program. */
#define MMWATCH_EXECUTED	(1 << 1)

/*
 * Added to the number of a system call of a 32-bit program: such calls have numbers of their own.
 */
#define MMWATCH_COMPAT_CALL	(1 << 29)

/* Events come in the order of their counts, but for those of one moment on several CPUs. */
struct mmwatch_event {
	__u64 time;		/* nanoseconds since the watch began */
	__u64 start;		/* first address */
	__u64 end;		/* the one after the last */
	__u64 count;		/* how many invalidations there were, with this one */
	__u32 kind;		/* enum mmwatch_kind */
	__u32 flags;
	__s32 pid;		/* the thread that did it, in the pid namespace of the watcher, or 0 */
	__s32 tgid;		/* its process, likewise */
	__s32 syscall;		/* the system call that it is in; -1: none, as in a page fault */
	__u32 cpu;
	__u32 latency;		/* nanoseconds that the watch has taken of it, nearly */
	__u32 reserved;
	__u64 cookie;		/* with MMWATCH_RANGES: that of the range */
};

/* In mmwatch_watch.flags: not all of the address space, but what MMWATCH_ADD_RANGE adds. */
#define MMWATCH_RANGES	(1 << 0)
/*
 * Each event is followed by so many addresses, a __u64 each, 0 after the last: where the thread
 * that did it was in its program. The first one is where it has entered the kernel; the second one
 * is the word on top of its stack, which is a return address if the function there has no frame;
 * then come the return addresses that frame pointers lead to, which are wrong where a program has
 * none. All are 0 for a thread of another address space, and while another process is watched that
 * its user may not inspect (prctl(PR_SET_DUMPABLE)).
 */
#define MMWATCH_STACKS	(1 << 1)
#define MMWATCH_STACK_DEPTH	16
/*
 * If the process executes another program, goes on with that, from before its first instruction.
 * Not if its credentials change by that, or if it is not to be looked into. Not with
 * MMWATCH_RANGES, and only for another process.
 */
#define MMWATCH_FOLLOW	(1 << 2)

struct mmwatch_watch {
	__s32 pid;		/* 0: the calling process */
	__u32 flags;		/* MMWATCH_RANGES and so on */
	/*
	 * Only with pid 0: where in the caller's memory to publish the number of invalidations, a
	 * __u64, or 0. The thread that asked does so itself, before it returns to user space: what
	 * it has done is counted there when its system call returns, what others do at its next
	 * one.
	 */
	__u64 count_address;
};

/* An event of it has what was invalidated of it: start and end are in the range. */
struct mmwatch_range {
	__u64 start;
	__u64 length;
	__u64 cookie;		/* as the caller likes */
	__u64 value;		/* returned: what its counter is now */
	__u32 index;		/* returned: which counter it has; also its name for MMWATCH_REMOVE_RANGE */
	__u32 reserved;		/* 0 */
};

struct mmwatch_status {
	__u64 count;		/* invalidations */
	__u64 published;	/* of these, what was published */
	__u64 pages;		/* invalidated, a page each time that it was */
	__u64 dropped;		/* events that did not fit */
	__u32 ended;		/* the address space is gone */
	__u32 reserved;
};

/*
 * Begins to watch. EBUSY: this file watches already. ENOSPC: MMWATCH_MAX_WATCHES. EINVAL: flags, or
 * a count_address that is not aligned or not of the caller. EFAULT. ESRCH: no such process.
 * EPERM: not traced by the caller, not stopped, or not to be looked into.
 */
#define MMWATCH_WATCH	_IOW(0xB8, 1, struct mmwatch_watch)
/* How it stands. EINVAL: nothing is watched. ESTALE. EFAULT. */
#define MMWATCH_STATUS	_IOR(0xB8, 2, struct mmwatch_status)
/* Ends the watch; the file can watch again. EINVAL: nothing is watched. ESTALE. */
#define MMWATCH_UNWATCH	_IO(0xB8, 3)
/*
 * One more range, until the watch ends or MMWATCH_REMOVE_RANGE. What is outside of all ranges is
 * not noted, and one of many costs as much as the logarithm of their number.
 *
 * Each has a counter, a __u64 at "index" in what mmap() has given. It moves before anything of the
 * range is unmapped, moved, discarded or protected, and when the range is not watched any more. So
 * while it is "value" the range is what it was when this returned; no event that is dropped, and no
 * system call that is not made, changes that. (What was unmapped just before this may still be read
 * for a moment, on another CPU, by its TLB: see mmwatch_range_add() in
 * tools/libmmwatch/include/mmwatch_ranges.h.)
 *
 * The counters are mapped before the first range is added, shared and read-only, as many as there
 * are to be ranges; a forked child does not have them. The first mapping decides how many there
 * are.
 *
 * EINVAL: nothing is watched, not with MMWATCH_RANGES, or "reserved". EOVERFLOW: it is empty, or
 * ends beyond all addresses. ENOSPC: MMWATCH_MAX_RANGES, or as many as there are counters. ESRCH:
 * the address space is gone. ENOMEM: the memory is the caller's. EINTR. ESTALE. EFAULT.
 *
 * mmap(): EINVAL: nothing is watched, not with MMWATCH_RANGES, an offset, or to be written or
 * executed. EBUSY: there are ranges, and no counters, or fewer than are wanted. ENOSPC: more than
 * MMWATCH_MAX_RANGES. ENOMEM. ESTALE.
 */
#define MMWATCH_ADD_RANGE	_IOWR(0xB8, 4, struct mmwatch_range)
/*
 * Takes one away, by its index, which the next one that is added may get. Waits for whoever is in
 * the middle of changing it. ENOENT: there is none. EINVAL: nothing is watched, or not with
 * MMWATCH_RANGES. ESTALE.
 */
#define MMWATCH_REMOVE_RANGE	_IO(0xB8, 5)

#endif
