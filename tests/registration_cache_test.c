// SPDX-License-Identifier: GPL-2.0
/* Tests of the sample rust_registration_cache, which must be loaded. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define DEVICE "/dev/rust-registration-cache"
#define PAGE 4096ul
#define MAX_RANGES 4096

/* Adds a range, or removes it if length is 0. Returns 0, or the error. */
static int put(int fd, void *start, uint64_t length)
{
	uint64_t range[2] = { (uintptr_t)start, length };

	return write(fd, range, sizeof(range)) == sizeof(range) ? 0 : -errno;
}

/* Returns the address of an evicted range, or the error. */
static int64_t take(int fd)
{
	int64_t start;

	return read(fd, &start, sizeof(start)) == sizeof(start) ? start : -errno;
}

static void *map_pages(unsigned int count)
{
	return mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
}

FIXTURE(cache)
{
	int fd;
	volatile uint64_t *status;
};

FIXTURE_SETUP(cache)
{
	self->fd = open(DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	ASSERT_LE(0, self->fd) TH_LOG("load rust_registration_cache: %m");
	self->status = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->status);
}

FIXTURE_TEARDOWN(cache)
{
	munmap((void *)self->status, PAGE);
	close(self->fd);
}

TEST_F(cache, evicted_when_unmapped)
{
	struct pollfd poller = { .fd = self->fd, .events = POLLIN };
	struct pollfd writer = { .fd = self->fd, .events = POLLOUT };
	char *memory = map_pages(2);

	ASSERT_EQ(0, put(self->fd, memory, PAGE));
	ASSERT_EQ(0, put(self->fd, memory + PAGE, PAGE));
	EXPECT_EQ(2, self->status[0]);
	EXPECT_EQ(0, poll(&poller, 1, 0));
	/* Writing does not wait: io_uring writes only if this is reported. */
	EXPECT_EQ(1, poll(&writer, 1, 0));
	EXPECT_EQ(-EAGAIN, take(self->fd));
	ASSERT_EQ(0, munmap(memory, PAGE));
	EXPECT_EQ(1, self->status[0]);
	EXPECT_EQ(1, self->status[1]);
	ASSERT_EQ(1, poll(&poller, 1, 0));
	EXPECT_EQ(POLLIN, poller.revents);
	EXPECT_EQ((intptr_t)memory, take(self->fd));
	EXPECT_EQ(-EAGAIN, take(self->fd));
	/* The other range is still in the cache. */
	ASSERT_EQ(0, munmap(memory + PAGE, PAGE));
	EXPECT_EQ((intptr_t)memory + (intptr_t)PAGE, take(self->fd));
	EXPECT_EQ(0, self->status[0]);
	EXPECT_EQ(2, self->status[1]);
}

TEST_F(cache, removed_ranges_are_not_evicted)
{
	char *memory = map_pages(1);

	ASSERT_EQ(0, put(self->fd, memory, PAGE));
	EXPECT_EQ(0, put(self->fd, memory, 0));
	EXPECT_EQ(-ENOENT, put(self->fd, memory, 0));
	ASSERT_EQ(0, munmap(memory, PAGE));
	EXPECT_EQ(-EAGAIN, take(self->fd));
	EXPECT_EQ(0, self->status[0]);
	EXPECT_EQ(0, self->status[1]);
}

TEST_F(cache, refusals)
{
	char *memory = map_pages(1);
	uint64_t range[3] = { (uintptr_t)memory, PAGE };
	uint64_t start;

	EXPECT_EQ(-1, write(self->fd, range, sizeof(uint64_t)));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, write(self->fd, range, sizeof(range)));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, read(self->fd, &start, sizeof(start) - 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-EOVERFLOW, put(self->fd, (void *)-PAGE, 2 * PAGE));
	ASSERT_EQ(0, put(self->fd, memory, PAGE));
	EXPECT_EQ(-EEXIST, put(self->fd, memory, PAGE));
	/* The refused range has not replaced the first one. */
	ASSERT_EQ(0, munmap(memory, PAGE));
	EXPECT_EQ((intptr_t)memory, take(self->fd));
	EXPECT_EQ(-EAGAIN, take(self->fd));
}

TEST_F(cache, address_is_read_again_after_a_fault)
{
	char *memory = map_pages(1);

	ASSERT_EQ(0, put(self->fd, memory, PAGE));
	ASSERT_EQ(0, munmap(memory, PAGE));
	/* The memory was unmapped. */
	EXPECT_EQ(-1, read(self->fd, memory, sizeof(uint64_t)));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ((intptr_t)memory, take(self->fd));
}

TEST_F(cache, number_of_ranges_is_limited)
{
	char *memory = map_pages(MAX_RANGES + 1);
	int i;

	for (i = 0; i < MAX_RANGES; i++)
		ASSERT_EQ(0, put(self->fd, memory + i * PAGE, PAGE));
	EXPECT_EQ(-ENOSPC, put(self->fd, memory + MAX_RANGES * PAGE, PAGE));
	EXPECT_EQ(MAX_RANGES, self->status[0]);
	ASSERT_EQ(0, munmap(memory, (MAX_RANGES + 1) * PAGE));
	EXPECT_EQ(0, self->status[0]);
	EXPECT_EQ(MAX_RANGES, self->status[1]);
	/* Addresses that were not read count. */
	memory = map_pages(1);
	EXPECT_EQ(-ENOSPC, put(self->fd, memory, PAGE));
	for (i = 0; i < MAX_RANGES; i++)
		ASSERT_LT(0, take(self->fd));
	EXPECT_EQ(-EAGAIN, take(self->fd));
	EXPECT_EQ(0, put(self->fd, memory, PAGE));
	munmap(memory, PAGE);
}

static void *unmap_soon(void *memory)
{
	usleep(100000);
	munmap(memory, PAGE);
	return NULL;
}

TEST_F(cache, read_waits_for_an_eviction)
{
	char *memory = map_pages(1);
	pthread_t thread;

	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, 0));
	ASSERT_EQ(0, put(self->fd, memory, PAGE));
	ASSERT_EQ(0, pthread_create(&thread, NULL, unmap_soon, memory));
	EXPECT_EQ((intptr_t)memory, take(self->fd));
	pthread_join(thread, NULL);
}

/* The ranges of a process that has ended are evicted as well. */
TEST_F(cache, evicted_when_the_process_ends)
{
	char *memory = map_pages(1);
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(put(self->fd, memory, PAGE) == 0 ? 0 : 1);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_EQ((intptr_t)memory, take(self->fd));
	EXPECT_EQ(0, self->status[0]);
}

struct storm {
	int fd;
	unsigned long added, removed;
};

static void *add_and_change(void *argument)
{
	struct storm *storm = argument;
	char *memory = map_pages(16);
	unsigned int i, seed = (uintptr_t)memory;

	for (i = 0; i < 20000; i++) {
		char *page = memory + rand_r(&seed) % 16 * PAGE;

		switch (rand_r(&seed) % 3) {
		case 0:
			storm->added += put(storm->fd, page, PAGE) == 0;
			break;
		case 1:
			storm->removed += put(storm->fd, page, 0) == 0;
			break;
		default:
			madvise(page, PAGE, MADV_DONTNEED);
			*page = 1;
		}
	}
	munmap(memory, 16 * PAGE);
	return NULL;
}

TEST_F(cache, storm)
{
	struct storm storms[4];
	pthread_t threads[4];
	unsigned long added = 0, removed = 0, evicted = 0;
	int i;

	for (i = 0; i < 4; i++) {
		storms[i] = (struct storm){ .fd = self->fd };
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, add_and_change, &storms[i]));
	}
	/* The threads do not have to wait for the reader, as ENOSPC is no failure. */
	for (i = 0; i < 100000; i++)
		evicted += take(self->fd) > 0;
	for (i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		added += storms[i].added;
		removed += storms[i].removed;
	}
	while (take(self->fd) > 0)
		evicted++;
	EXPECT_LT(0, added);
	EXPECT_LT(0, removed);
	EXPECT_EQ(added, removed + evicted);
	EXPECT_EQ(0, self->status[0]);
	EXPECT_EQ(evicted, self->status[1]);
}

TEST_HARNESS_MAIN
