/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Detects changes of ranges of the calling process's memory: unmapped, moved, discarded or
 * protected, by any task. Checking a range takes no system call. Needs samples/mmwatch.h and
 * /dev/mmwatch.
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
 * Functions return 0 or -errno. They may be called concurrently, except mmwatch_ranges_open() and
 * mmwatch_ranges_close(). In a forked child all ranges count as changed, and none can be added; the
 * child may call mmwatch_ranges_close() for the object of its parent.
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
	int fd;			/* events can be read here, see mmwatch.h */
	size_t size;		/* of the counters, in bytes */
	const uint64_t *counters;
	uint32_t *owner;	/* 1; 0 in a forked child, where the counters are not mapped */
	size_t owner_size;	/* in bytes: the page of "owner", and an unused page */
};

/* Ends the watch and all its ranges. */
static inline void mmwatch_ranges_close(struct mmwatch_ranges *ranges)
{
	/* In a child, other memory may be mapped at this address. */
	if (__atomic_load_n(ranges->owner, __ATOMIC_RELAXED))
		munmap((void *)ranges->counters, ranges->size);
	munmap(ranges->owner, ranges->owner_size);
	close(ranges->fd);
}

/*
 * Starts a watch with room for at least @max ranges at one time. Returns -EPROTONOSUPPORT if the
 * loaded module was built with another version of mmwatch.h.
 */
static inline int mmwatch_ranges_open(struct mmwatch_ranges *ranges, unsigned int max)
{
	struct mmwatch_watch watch = { 0, MMWATCH_RANGES, 0 };
	size_t page = sysconf(_SC_PAGESIZE);
	uint32_t version = 0;
	void *owner, *counters;
	int ret;

	ranges->owner_size = 2 * page;
	ranges->size = (max * sizeof(uint64_t) + page - 1) / page * page;
	ranges->fd = open("/dev/mmwatch", O_RDONLY | O_CLOEXEC);
	if (ranges->fd < 0)
		return -errno;
	if (ioctl(ranges->fd, MMWATCH_VERSION, &version) && errno != ENOTTY)
		goto close;
	if (version != MMWATCH_INTERFACE) {
		close(ranges->fd);
		return -EPROTONOSUPPORT;
	}
	if (ioctl(ranges->fd, MMWATCH_WATCH, &watch))
		goto close;
	owner = mmap(NULL, ranges->owner_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		     -1, 0);
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
 * Adds a range. Data derived from the range must be read after this call, not before. Events of the
 * range carry the cookie.
 */
static inline int mmwatch_range_add(struct mmwatch_ranges *ranges, const void *address,
				    size_t length, uint64_t cookie, struct mmwatch_range *range)
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
	 * If another thread is unmapping a page at this time, it may have called the notifier
	 * already, and not yet have flushed all TLBs. CPUs may then still read the old page.
	 * madvise() does not return before these TLBs are flushed, even for a page that was never
	 * used.
	 */
	madvise((char *)ranges->owner + ranges->owner_size / 2, ranges->owner_size / 2,
		MADV_DONTNEED);
	return 0;
}

/* Removes a range. Must not be called twice for a range, because the index may be reused. */
static inline int mmwatch_range_changed(const struct mmwatch_ranges *ranges,
					const struct mmwatch_range *range)
{
	if (!__atomic_load_n(ranges->owner, __ATOMIC_RELAXED))
		return 1;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&ranges->counters[range->index], __ATOMIC_ACQUIRE) != range->value;
}

/*
 * Removes a range. Must be called once for each range, because the index may be reused afterwards.
 */
static inline int mmwatch_range_remove(struct mmwatch_ranges *ranges,
				       const struct mmwatch_range *range)
{
	return ioctl(ranges->fd, MMWATCH_REMOVE_RANGE, (unsigned long)range->index) ? -errno : 0;
}

#endif
