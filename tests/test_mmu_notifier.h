/* SPDX-License-Identifier: GPL-2.0 */
/* /dev/test-mmu-notifier: notifiers of all kinds, and counters of their callbacks. */
#ifndef _TEST_MMU_NOTIFIER_H
#define _TEST_MMU_NOTIFIER_H

#include <linux/ioctl.h>
#include <linux/types.h>

enum mmu_test_kind {
	MMU_TEST_RELEASE_ONLY,
	MMU_TEST_RANGES,
	/* Refuses as many ranges as MMU_TEST_REFUSE sets. */
	MMU_TEST_TRY_RANGES,
	MMU_TEST_SECONDARY_TLBS,
	/* Reports that every page was used. */
	MMU_TEST_AGE,
	MMU_TEST_KINDS,
	/* Interval notifiers for the whole address space. */
	MMU_TEST_INTERVAL = MMU_TEST_KINDS,
	MMU_TEST_TWO_PASSES,
	MMU_TEST_ALL_KINDS,
};

/* The counters of all notifiers of a file. */
struct mmu_test_counts {
	__s64 starts;		/* of MMU_TEST_RANGES and MMU_TEST_AGE */
	__s64 ends;
	__s64 unmap;		/* this and the next four: starts by event */
	__s64 clear;
	__s64 protection_vma;
	__s64 protection_page;
	__s64 other;
	__s64 nonblockable;	/* starts that were not blockable */
	__s64 blockable;	/* of MMU_TEST_TRY_RANGES */
	__s64 tried;		/* of MMU_TEST_TRY_RANGES: ranges that were not blockable */
	__s64 refused;		/* of MMU_TEST_TRY_RANGES: refused ranges */
	__s64 tlbs;
	__s64 aged;
	__s64 releases;
	__s64 elsewhere;	/* callbacks for an address space other than the registered one */
	__s64 invalidated;	/* of MMU_TEST_INTERVAL */
	__s64 begun;		/* of MMU_TEST_TWO_PASSES */
	__s64 finished;		/* of MMU_TEST_TWO_PASSES; each second pass takes a millisecond */
	__s64 most_begun;	/* the maximum number of passes begun and not finished */
	__s64 looked_up;	/* look-ups of MMU_TEST_READ */
	/* Shared notifiers of all files since the module was loaded. */
	__s64 shared_made;
	__s64 shared_dropped;
};

/* Registers a notifier of this kind on the caller's address space. A file may have many. */
#define MMU_TEST_REGISTER	_IO(0xBC, 1)
/* Unregisters all notifiers of the file. */
#define MMU_TEST_UNREGISTER	_IO(0xBC, 2)
#define MMU_TEST_REFUSE		_IO(0xBC, 3)
#define MMU_TEST_COUNTS		_IOR(0xBC, 4, struct mmu_test_counts)
/* Takes a reference to the shared notifier of the caller's address space. A file may have many. */
#define MMU_TEST_GET		_IO(0xBC, 5)
/* Drops a reference to the shared notifier. */
#define MMU_TEST_PUT		_IO(0xBC, 6)
/* Takes a reference to a shared notifier of another type. */
#define MMU_TEST_GET_OTHER	_IO(0xBC, 8)
/* Holds the lock of an interval notifier of the file for this many milliseconds. */
#define MMU_TEST_HOLD		_IO(0xBC, 9)

/*
 * Records a look-up in the shadow of an interval notifier of the file. The first look-up takes this
 * many milliseconds.
 */
#define MMU_TEST_READ		_IO(0xBC, 12)
/* Makes each later release of the file's notifiers take this many milliseconds. */
#define MMU_TEST_LINGER		_IO(0xBC, 11)

/* Looks up four pages, each with its own request. */
struct mmu_test_fault {
	__u64 address;
	__u64 requests[4];	/* 0: snapshot, 1: read, 2: write */
	__u64 found[4];		/* flags: MMU_TEST_VALID and so on */
};

#define MMU_TEST_VALID		1
#define MMU_TEST_WRITABLE	2
#define MMU_TEST_ERROR		4
#define MMU_TEST_FAULT		_IOWR(0xBC, 10, struct mmu_test_fault)

/* Drops all registrations of the file, without waiting. */
#define MMU_TEST_DROP		_IO(0xBC, 13)
/*
 * Copies eight bytes to an address with the shadow of an interval notifier of the file locked.
 */
#define MMU_TEST_COPY		_IO(0xBC, 14)
/* Unmaps the page at an address with the shadow locked. */
#define MMU_TEST_ZAP		_IO(0xBC, 15)
/* Faults in the page at an address, within 300 ms. */
#define MMU_TEST_FAULT_WITHIN	_IO(0xBC, 16)
/*
 * Lets a thread fault in the page at an address without a time-out, and stops the thread after
 * 300 ms. Returns the duration of the stop in ms.
 */
#define MMU_TEST_FAULT_STOPPED	_IO(0xBC, 17)
/*
 * Registers an interval notifier on the page at an address. The notifier drops its registration in
 * its own callback; its destructor counts a release.
 */
#define MMU_TEST_EVICT		_IO(0xBC, 18)
/*
 * Begins a look-up with an interval notifier of the file, which takes this many milliseconds, and
 * commits it. Returns 1 if the commit was refused because the range has changed, otherwise 0.
 */
#define MMU_TEST_SEQUENCE	_IO(0xBC, 19)
/* mmap() of the file registers a notifier with the mmap_lock held for writing. */

/* Takes a reference that the shared notifier owns itself and drops in its release. */
#define MMU_TEST_GET_SELF	_IO(0xBC, 7)

#endif
