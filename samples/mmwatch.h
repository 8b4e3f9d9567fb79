/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * mmwatch: reports the changes of an address space.
 *
 * A file of /dev/mmwatch watches one address space: the current one of the calling process (pid 0),
 * or that of a process which the calling task traces and has stopped.
 *
 *   read()   returns as many whole events as fit. Waits for the first one unless O_NONBLOCK is set.
 *            Returns 0 at the end: the address space is gone, and all its events were read.
 *   poll()   POLLIN: events can be read. POLLHUP: the end. POLLERR: the file watches nothing that
 *            the caller may read.
 *   mmap()   maps the counters of ranges, see MMWATCH_ADD_RANGE.
 *
 * Only the process that started the watch may use it. In a forked child, and after the process has
 * executed another program, every operation fails with ESTALE.
 */
#ifndef _MMWATCH_H
#define _MMWATCH_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * Version of this interface, which MMWATCH_VERSION returns. It changes when a program that was
 * built with an older version of this file would misunderstand the module, or the other way round.
 */
#define MMWATCH_INTERFACE	1

/* Maximum number of address spaces that are watched at one time, in the whole system. */
#define MMWATCH_MAX_WATCHES	64

/*
 * Maximum number of events that wait for a reader. Further events are dropped. MMWATCH_STATUS and
 * an MMWATCH_DROPPED event report their number.
 */
#define MMWATCH_MAX_EVENTS	32768

/* Maximum number of ranges at one time, in the whole system. */
#define MMWATCH_MAX_RANGES	131072

/* Kinds of events. The first ones are those of enum mmu_notifier_event. */
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
	MMWATCH_DROPPED,	/* "start" events were dropped: a gap in "count" */
	MMWATCH_EXEC,		/* with MMWATCH_FOLLOW: the next events are of the new program */
	MMWATCH_NOT_FOLLOWED,	/* the new program is not watched; "start" is the errno */
};

/* The invalidating task may sleep in the notifier. */
#define MMWATCH_BLOCKABLE	(1 << 0)
/* With MMWATCH_RELEASE: the process continues, because it has executed another program. */
#define MMWATCH_EXECUTED	(1 << 1)

/*
 * Added to the number of a system call of a 32-bit program: these calls have a separate numbering.
 */
#define MMWATCH_COMPAT_CALL	(1 << 29)

/* Events are in the order of "count", except for events of the same moment on several CPUs. */
struct mmwatch_event {
	__u64 time;		/* nanoseconds since the watch began */
	__u64 start;		/* first address */
	__u64 end;		/* first address after the range */
	__u64 count;		/* number of invalidations so far, including this one */
	__u32 kind;		/* enum mmwatch_kind */
	__u32 flags;
	__s32 pid;		/* invalidating thread, in the watcher's pid namespace, or 0 */
	__s32 tgid;		/* process of that thread, in the same namespace, or 0 */
	__s32 syscall;		/* system call of that thread; -1: none, as in a page fault */
	__u32 cpu;
	__u32 latency;		/* nanoseconds spent in the callback of the watch, approximately */
	__u32 reserved;
	__u64 cookie;		/* with MMWATCH_RANGES: the cookie of the range */
};

/* Flag in mmwatch_watch.flags: watch only the ranges added by MMWATCH_ADD_RANGE. */
#define MMWATCH_RANGES	(1 << 0)
/*
 * Each event is followed by MMWATCH_STACK_DEPTH addresses, a __u64 each, padded with 0: the user
 * stack of the invalidating thread. The first address is the instruction at which the thread has
 * entered the kernel. The second one is the word on top of the user stack, which is a return
 * address if the function has no frame. The others are the return addresses found through frame
 * pointers; they are wrong if the program was built without frame pointers.
 *
 * All addresses are 0 if the thread belongs to another address space. They are also 0 if another
 * process is watched and its user may not inspect it (prctl(PR_SET_DUMPABLE)).
 */
#define MMWATCH_STACKS	(1 << 1)
#define MMWATCH_STACK_DEPTH	16
/*
 * If the process executes another program, the watch continues with the new program, from before
 * its first instruction. The watch ends with MMWATCH_NOT_FOLLOWED if the exec changes the
 * credentials, or if the new program may not be inspected. Only for another process, and not
 * together with MMWATCH_RANGES.
 */
#define MMWATCH_FOLLOW	(1 << 2)

struct mmwatch_watch {
	__s32 pid;		/* 0: the calling process */
	__u32 flags;		/* MMWATCH_RANGES, MMWATCH_STACKS, MMWATCH_FOLLOW */
	/*
	 * Address in the caller's memory at which the number of invalidations is published as a
	 * __u64, or 0. Must be 0 if pid is not 0. The thread that has called MMWATCH_WATCH writes
	 * the number itself before it returns to user space. Its own invalidations are published
	 * when its system call returns; invalidations by other threads are published at its next
	 * return to user space.
	 */
	__u64 count_address;
};

/* Events of a range report the part that is invalidated: start and end lie within the range. */
struct mmwatch_range {
	__u64 start;
	__u64 length;
	__u64 cookie;		/* any value; copied to the events of the range */
	__u64 value;		/* returned: current value of the range's counter */
	__u32 index;		/* returned: index of the counter, for MMWATCH_REMOVE_RANGE */
	__u32 reserved;		/* 0 */
};

struct mmwatch_status {
	__u64 count;		/* number of invalidations */
	__u64 published;	/* last value of "count" that was published */
	__u64 pages;		/* invalidated pages; a page counts at each invalidation */
	__u64 dropped;		/* number of dropped events */
	__u32 ended;		/* the address space is gone and not followed by another one */
	__u32 reserved;
};

/*
 * Starts a watch.
 *
 * EBUSY: this file has a watch, or many ended watches of the process were not removed within ten
 * seconds. ENOSPC: there are MMWATCH_MAX_WATCHES already. EINVAL: the flags are invalid,
 * count_address is not aligned or is given for another process, or the process has no address
 * space. EFAULT. ESRCH: no such process. EPERM: the process is not traced by the caller, is not
 * stopped, or may not be inspected. EINTR. ENOMEM. ESTALE.
 */
#define MMWATCH_WATCH	_IOW(0xB8, 1, struct mmwatch_watch)
/* Returns the state of the watch. EINVAL: the file has no watch. ESTALE. EFAULT. */
#define MMWATCH_STATUS	_IOR(0xB8, 2, struct mmwatch_status)
/* Ends the watch. The file can start another one. EINVAL: the file has no watch. ESTALE. */
#define MMWATCH_UNWATCH	_IO(0xB8, 3)
/*
 * Adds a range, which is watched until MMWATCH_REMOVE_RANGE or the end of the watch. Invalidations
 * outside of all ranges are not recorded. The cost of an invalidation grows with the logarithm of
 * the number of ranges.
 *
 * Each range has a counter, the __u64 at "index" in the mapping of the file. The counter changes
 * before any part of the range is unmapped, moved, discarded or protected, and when the range is
 * removed or the watch ends. As long as the counter equals "value", the range has not changed since
 * this ioctl returned. This holds even if events were dropped, and reading the counter takes no
 * system call. (If a page was unmapped just before this ioctl, another CPU may read the old page
 * through its TLB for a moment: see mmwatch_range_add() in
 * tools/libmmwatch/include/mmwatch_ranges.h.) The kernel does not notify of new mappings, nor of a
 * protection of memory without page tables: the whole range should be mapped.
 *
 * The counters must be mapped before the first range is added, shared and read-only. The length of
 * the first mapping determines the number of counters, which limits the number of ranges. A forked
 * child does not inherit the mapping.
 *
 * EINVAL: the file has no watch, the watch is not with MMWATCH_RANGES, or "reserved" is not 0.
 * EOVERFLOW: the range is empty or exceeds the address space. ENOSPC: there are MMWATCH_MAX_RANGES,
 * or no counter is free. ESRCH: the address space is gone. EBUSY: many removed ranges were not
 * freed within ten seconds. ENOMEM: the memory is charged to the caller's memory cgroup. EINTR.
 * ESTALE. EFAULT.
 *
 * mmap(): EINVAL: the file has no watch, the watch is not with MMWATCH_RANGES, the offset is not 0,
 * or the mapping is writable or executable. EBUSY: the first mapping has fewer counters, or ranges
 * were added before the first mapping. ENOSPC: more than MMWATCH_MAX_RANGES counters. ENOMEM.
 * ESTALE.
 */
#define MMWATCH_ADD_RANGE	_IOWR(0xB8, 4, struct mmwatch_range)
/*
 * Removes the range with the given index. A range that is added later may get the same index. Waits
 * for tasks that are changing the range. ENOENT: no such range. EINVAL: the file has no watch, or
 * the watch is not with MMWATCH_RANGES. ESTALE. With EINTR (the task is being killed), EBUSY (after
 * ten seconds) and ENOMEM, the range is removed later, and its index is not used again.
 */
#define MMWATCH_REMOVE_RANGE	_IO(0xB8, 5)
/*
 * Returns MMWATCH_INTERFACE as the module was built with. A program calls this before any other
 * ioctl, and uses the device only if the versions are equal. ENOTTY: the module is older than this
 * ioctl. EFAULT.
 */
#define MMWATCH_VERSION	_IOR(0xB8, 6, __u32)

#endif
