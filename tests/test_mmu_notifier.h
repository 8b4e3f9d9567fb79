/* SPDX-License-Identifier: GPL-2.0 */
/* /dev/test-mmu-notifier: notifiers of all kinds, and what they have heard. */
#ifndef _TEST_MMU_NOTIFIER_H
#define _TEST_MMU_NOTIFIER_H

#include <linux/ioctl.h>
#include <linux/types.h>

enum mmu_test_kind {
	MMU_TEST_RELEASE_ONLY,
	MMU_TEST_RANGES,
	/* Refuses as often as MMU_TEST_REFUSE has said. */
	MMU_TEST_TRY_RANGES,
	MMU_TEST_SECONDARY_TLBS,
	/* Says that all was used. */
	MMU_TEST_AGE,
	MMU_TEST_KINDS,
	/* On all of the address space. */
	MMU_TEST_INTERVAL = MMU_TEST_KINDS,
	MMU_TEST_TWO_PASSES,
	MMU_TEST_ALL_KINDS,
};

/* Of all notifiers of a file. */
struct mmu_test_counts {
	__s64 starts;		/* of MMU_TEST_RANGES, and of MMU_TEST_AGE */
	__s64 ends;
	__s64 unmap;		/* starts by their event */
	__s64 clear;
	__s64 protection_vma;
	__s64 protection_page;
	__s64 other;
	__s64 nonblockable;	/* starts that were not blockable */
	__s64 blockable;	/* of MMU_TEST_TRY_RANGES */
	__s64 tried;		/* likewise, what was not blockable */
	__s64 refused;		/* likewise */
	__s64 tlbs;
	__s64 aged;
	__s64 releases;
	__s64 elsewhere;	/* callbacks for another address space than was registered on */
	__s64 invalidated;	/* of MMU_TEST_INTERVAL */
	__s64 begun;		/* of MMU_TEST_TWO_PASSES */
	__s64 finished;		/* likewise; each takes a millisecond */
	__s64 most_begun;	/* how many were begun and not finished, at the most */
	__s64 looked_up;	/* by MMU_TEST_READ */
	/* Of all files, since the module was loaded: shared notifiers. */
	__s64 shared_made;
	__s64 shared_dropped;
};

/* A notifier of this kind on the caller's address space. A file may have many. */
#define MMU_TEST_REGISTER	_IO(0xBC, 1)
/* Unregisters all that the file has. */
#define MMU_TEST_UNREGISTER	_IO(0xBC, 2)
#define MMU_TEST_REFUSE		_IO(0xBC, 3)
#define MMU_TEST_COUNTS		_IOR(0xBC, 4, struct mmu_test_counts)
/* A reference to the shared notifier of the caller's address space. A file may have many. */
#define MMU_TEST_GET		_IO(0xBC, 5)
/* Drops one of them. */
#define MMU_TEST_PUT		_IO(0xBC, 6)
/* Another type's reference, with the first one's. */
#define MMU_TEST_GET_OTHER	_IO(0xBC, 8)
/* Has the lock of an interval notifier of the file for so many milliseconds. */
#define MMU_TEST_HOLD		_IO(0xBC, 9)

/*
 * Has an interval notifier of the file note something that it looks up, which takes so many
 * milliseconds the first time.
 */
#define MMU_TEST_READ		_IO(0xBC, 12)
/* From now on each release of the file's notifiers takes so many milliseconds. */
#define MMU_TEST_LINGER		_IO(0xBC, 11)

/* Looks pages up, each as it is wanted. */
struct mmu_test_fault {
	__u64 address;
	__u64 requests[4];	/* 0 a snapshot, 1 to read, 2 to write */
	__u64 found[4];		/* MMU_TEST_VALID and so on */
};

#define MMU_TEST_VALID		1
#define MMU_TEST_WRITABLE	2
#define MMU_TEST_ERROR		4
#define MMU_TEST_FAULT		_IOWR(0xBC, 10, struct mmu_test_fault)

/* Drops all registrations of the file, without waiting. */
#define MMU_TEST_DROP		_IO(0xBC, 13)
/*
 * Copies eight bytes to an address while the shadow of an interval notifier of the file is locked.
 */
#define MMU_TEST_COPY		_IO(0xBC, 14)
/* Unmaps the page at an address then. */
#define MMU_TEST_ZAP		_IO(0xBC, 15)
/* Brings the page at an address in, within 300 ms. */
#define MMU_TEST_FAULT_WITHIN	_IO(0xBC, 16)
/*
 * Has a thread bring it in, without a limit, and stops that after 300 ms. Returns how many ms
 * stopping took.
 */
#define MMU_TEST_FAULT_STOPPED	_IO(0xBC, 17)
/*
 * An interval notifier on the page at an address, which is dropped in its own callback: a release
 * when it is gone.
 */
#define MMU_TEST_EVICT		_IO(0xBC, 18)
/* mmap() of the file registers a notifier, with the mmap_lock held for writing. */

/* A reference that the shared notifier has itself, and drops in its release. */
#define MMU_TEST_GET_SELF	_IO(0xBC, 7)

#endif
