/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Whether ranges of one's own memory have changed: unmapped, moved, discarded or protected, by
 * whomever. That is told without a system call. Needs samples/mmwatch.h and /dev/mmwatch.
 *
 *	struct mmwatch_ranges ranges;
 *	struct mmwatch_range range;
 *
 *	mmwatch_ranges_open(&ranges, 1024);
 *	mmwatch_range_add(&ranges, buffer, length, 0, &range);
 *	...
 *	if (mmwatch_range_changed(&ranges, &range))
 *		...
 *
 * Functions return 0 or -errno. Any thread may call them, but who opens and closes does so alone.
 * In a forked child all ranges are changed, and none can be added; it may close what its parent has
 * opened.
 */
#ifndef _MMWATCH_RANGES_H
#define _MMWATCH_RANGES_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mmwatch.h"

struct mmwatch_ranges {
	int fd;			/* events can be read here, as mmwatch.h says */
	size_t size;		/* of the counters, in bytes */
	const uint64_t *counters;
	uint32_t *owner;	/* 1; in a forked child 0, which does not have the counters */
	size_t owner_size;	/* in bytes: its page, and one in which nothing is */
};

/* Ends it, and all ranges. */
static inline void mmwatch_ranges_close(struct mmwatch_ranges *ranges)
{
	/* A child may have something else there. */
	if (__atomic_load_n(ranges->owner, __ATOMIC_RELAXED))
		munmap((void *)ranges->counters, ranges->size);
	munmap(ranges->owner, ranges->owner_size);
	close(ranges->fd);
}

/* Begins, for as many ranges at one time as @max, or somewhat more. */
static inline int mmwatch_ranges_open(struct mmwatch_ranges *ranges, unsigned int max)
{
	struct mmwatch_watch watch = { 0, MMWATCH_RANGES, 0 };
	size_t page = sysconf(_SC_PAGESIZE);
	void *owner, *counters;
	int ret;

	ranges->owner_size = 2 * page;
	ranges->size = (max * sizeof(uint64_t) + page - 1) / page * page;
	ranges->fd = open("/dev/mmwatch", O_RDONLY | O_CLOEXEC);
	if (ranges->fd < 0)
		return -errno;
	if (ioctl(ranges->fd, MMWATCH_WATCH, &watch))
		goto close;
	owner = mmap(NULL, ranges->owner_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (owner == MAP_FAILED)
		goto close;
	if (madvise(owner, ranges->owner_size, MADV_WIPEONFORK))
		goto unmap;
	counters = mmap(NULL, ranges->size, PROT_READ, MAP_SHARED, ranges->fd, 0);
	if (counters == MAP_FAILED)
		goto unmap;
	ranges->counters = (const uint64_t *)counters;
	ranges->owner = (uint32_t *)owner;
	__atomic_store_n(ranges->owner, 1, __ATOMIC_RELAXED);
	return 0;

unmap:
	ret = -errno;
	munmap(owner, ranges->owner_size);
	close(ranges->fd);
	return ret;
close:
	ret = -errno;
	close(ranges->fd);
	return ret;
}

/*
 * Watches a range from now on. What it is used for is to be looked up after this, not before.
 * Events of it have the cookie.
 */
static inline int mmwatch_range_add(struct mmwatch_ranges *ranges, const void *address, size_t length,
				    uint64_t cookie, struct mmwatch_range *range)
{
	range->start = (uintptr_t)address;
	range->length = length;
	range->cookie = cookie;
	range->value = 0;
	range->index = 0;
	range->reserved = 0;
	if (ioctl(ranges->fd, MMWATCH_ADD_RANGE, range))
		return -errno;
	/*
	 * What somebody was unmapping just before may still be read by CPUs that have not been told
	 * yet (their TLBs). They are told before this returns, which is of memory that has nothing.
	 */
	madvise((char *)ranges->owner + ranges->owner_size / 2, ranges->owner_size / 2, MADV_DONTNEED);
	return 0;
}

/*
 * Whether it has changed since it was added. Once it has, or was removed, it stays so. If it has
 * not, then what was read of it since it was added, and before this call, is of the memory that was
 * there then.
 */
static inline int mmwatch_range_changed(const struct mmwatch_ranges *ranges,
					const struct mmwatch_range *range)
{
	if (!__atomic_load_n(ranges->owner, __ATOMIC_RELAXED))
		return 1;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&ranges->counters[range->index], __ATOMIC_ACQUIRE) != range->value;
}

/* Does not watch it any more. Once for each: another one may have its index then. */
static inline int mmwatch_range_remove(struct mmwatch_ranges *ranges, const struct mmwatch_range *range)
{
	return ioctl(ranges->fd, MMWATCH_REMOVE_RANGE, (unsigned long)range->index) ? -errno : 0;
}

#endif
