// SPDX-License-Identifier: GPL-2.0
/*
 * A registration cache, as used by programs that let a device read their memory (RDMA, for
 * instance): a registered buffer is used again without a new registration, unless its memory has
 * changed.
 *
 * Here, registering a buffer means looking up the page frame numbers behind the buffer. Needs
 * /dev/mmwatch, and root privileges, because all page frame numbers are read as 0 otherwise. The
 * program checks its own results: the exit code is 0 if all of them are as expected.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mmwatch_ranges.h"

#define PAGE	4096UL
#define PAGES	64
#define LENGTH	(PAGES * PAGE)
#define BUFFERS	16

struct registration {
	void *buffer;		/* NULL: unused entry */
	struct mmwatch_range range;
	uint64_t pages[PAGES];
};

struct cache {
	struct mmwatch_ranges ranges;
	struct registration registrations[BUFFERS];
};

/* Reads the page frame numbers behind a buffer. */
static int pages_of(const void *buffer, uint64_t *pages)
{
	off_t offset = (uintptr_t)buffer / PAGE * sizeof(*pages);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), i;
	ssize_t size = pread(fd, pages, PAGES * sizeof(*pages), offset);

	close(fd);
	for (i = 0; i < PAGES; i++)
		pages[i] &= (1ULL << 55) - 1;
	return size == PAGES * sizeof(*pages) ? 0 : -EIO;
}

/*
 * Returns the pages of a buffer, and whether they were cached. Returns NULL with errno on failure.
 */
static const uint64_t *cached_pages(struct cache *cache, void *buffer, int *known)
{
	struct registration *slot = NULL;
	int i, ret;

	for (i = 0; i < BUFFERS && !(slot && slot->buffer == buffer); i++)
		if (cache->registrations[i].buffer == buffer ||
		    (!slot && !cache->registrations[i].buffer))
			slot = &cache->registrations[i];
	if (!slot) {
		errno = ENOSPC;
		return NULL;
	}
	*known = slot->buffer && !mmwatch_range_changed(&cache->ranges, &slot->range);
	if (*known)
		return slot->pages;
	if (slot->buffer)
		mmwatch_range_remove(&cache->ranges, &slot->range);
	/* Add the range before looking up the pages, so that a change in between is detected. */
	ret = mmwatch_range_add(&cache->ranges, buffer, LENGTH, 0, &slot->range);
	slot->buffer = ret ? NULL : buffer;
	if (!ret)
		ret = pages_of(buffer, slot->pages);
	errno = -ret;
	return ret ? NULL : slot->pages;
}

/* Maps memory and populates it, at an unused address or anywhere. */
static void *map(void *at)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | (at ? MAP_FIXED_NOREPLACE : 0);
	void *memory = mmap(at, LENGTH, PROT_READ | PROT_WRITE, flags, -1, 0);

	if (memory == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return memory;
}

/* Looks up a buffer, and checks that the result is correct and cached as expected. */
static void step(struct cache *cache, void *buffer, const char *what, int expected)
{
	uint64_t now[PAGES];
	int known;
	const uint64_t *pages = cached_pages(cache, buffer, &known);

	if (!pages || pages_of(buffer, now)) {
		perror(what);
		exit(1);
	}
	printf("%s: %s\n", what, known ? "known" : "registered");
	if (known != expected || memcmp(pages, now, sizeof(now))) {
		fprintf(stderr, "unexpected result\n");
		exit(1);
	}
}

static int all_changed(const struct cache *cache)
{
	int i;

	for (i = 0; i < BUFFERS; i++)
		if (cache->registrations[i].buffer &&
		    !mmwatch_range_changed(&cache->ranges, &cache->registrations[i].range))
			return 0;
	return 1;
}

int main(void)
{
	static struct cache cache;
	int ret = mmwatch_ranges_open(&cache.ranges, BUFFERS), status;
	void *buffer = map(NULL), *elsewhere = map(NULL);
	pid_t child;

	if (ret) {
		fprintf(stderr, "/dev/mmwatch: %s\n", strerror(-ret));
		return 1;
	}
	step(&cache, buffer, "first use", 0);
	step(&cache, buffer, "again", 1);
	munmap(buffer, LENGTH);
	map(buffer);
	step(&cache, buffer, "munmap, mmap at the same address", 0);
	step(&cache, buffer, "again", 1);
	madvise(buffer, LENGTH, MADV_DONTNEED);
	step(&cache, buffer, "madvise(MADV_DONTNEED)", 0);
	step(&cache, buffer, "again", 1);
	mremap(buffer, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere);
	map(buffer);
	step(&cache, buffer, "mremap, mmap at the old address", 0);
	step(&cache, elsewhere, "at its new address", 0);
	step(&cache, elsewhere, "again", 1);
	fflush(stdout);
	child = fork();
	if (child == 0)
		_exit(all_changed(&cache) ? 0 : 1);
	if (waitpid(child, &status, 0) != child || status) {
		fprintf(stderr, "a range is valid in a forked child\n");
		return 1;
	}
	printf("in a forked child: no range is valid\n");
	/* After a fork, the pages are shared with the child until they are written to. */
	step(&cache, buffer, "after the fork", 0);
	step(&cache, buffer, "again", 1);
	mmwatch_ranges_close(&cache.ranges);
	return 0;
}
