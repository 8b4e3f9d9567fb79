// SPDX-License-Identifier: GPL-2.0
/* Notifiers, as processes see them. Needs tether, tether_test and rust_interval_notifier. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "tether_test.h"

static struct tether_test_counts counts_of(int fd)
{
	struct tether_test_counts counts;

	if (ioctl(fd, TETHER_TEST_COUNTS, &counts))
		_exit(99);
	return counts;
}

FIXTURE(notifier)
{
	int fd;
	size_t size;
	char *memory;
};

FIXTURE_SETUP(notifier)
{
	self->fd = open("/dev/tether-test", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ioctl(self->fd, TETHER_TEST_REGISTER));
	self->size = 16 * sysconf(_SC_PAGESIZE);
	self->memory = mmap(NULL, self->size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->memory);
}

FIXTURE_TEARDOWN(notifier)
{
	struct tether_test_counts counts = counts_of(self->fd);

	/* Nothing is under way: each start had its end. */
	EXPECT_EQ(counts.starts, counts.ends);
	close(self->fd);
}

static __s64 starts(int fd)
{
	return counts_of(fd).starts;
}

TEST_F(notifier, munmap)
{
	__s64 before = starts(self->fd);

	ASSERT_EQ(0, munmap(self->memory, self->size));
	EXPECT_LT(before, starts(self->fd));
}

TEST_F(notifier, mremap)
{
	__s64 before = starts(self->fd);
	void *elsewhere = mmap(NULL, self->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, mremap(self->memory, self->size, self->size,
				     MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere));
	EXPECT_LT(before, starts(self->fd));
}

TEST_F(notifier, madvise)
{
	__s64 before = starts(self->fd);

	ASSERT_EQ(0, madvise(self->memory, self->size, MADV_DONTNEED));
	EXPECT_LT(before, starts(self->fd));
}

TEST_F(notifier, mprotect)
{
	__s64 before = starts(self->fd);

	ASSERT_EQ(0, mprotect(self->memory, self->size, PROT_READ));
	EXPECT_LT(before, starts(self->fd));
}

/* fork() makes pages read-only here; the child is not watched. */
TEST_F(notifier, fork)
{
	__s64 before = starts(self->fd), after;
	int status;
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (child == 0) {
		munmap(self->memory, self->size);
		_exit(0);
	}
	after = starts(self->fd);
	EXPECT_LT(before, after);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, counts_of(self->fd).releases);
}

/* Unregistering releases once; after it nothing is counted. */
TEST_F(notifier, unregister)
{
	ASSERT_EQ(0, ioctl(self->fd, TETHER_TEST_UNREGISTER));
	EXPECT_EQ(1, counts_of(self->fd).releases);
	ASSERT_EQ(0, munmap(self->memory, self->size));
	EXPECT_EQ(0, starts(self->fd));
	EXPECT_EQ(-1, ioctl(self->fd, TETHER_TEST_UNREGISTER));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(1, counts_of(self->fd).releases);
}

/* The end of the address space releases once; unregistering afterwards does not do so again. */
TEST_F(notifier, exit)
{
	int status, fd = open("/dev/tether-test", O_RDWR);
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (child == 0) {
		_exit(ioctl(fd, TETHER_TEST_REGISTER) ? 1 : 0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_EQ(1, counts_of(fd).releases);
	ASSERT_EQ(0, ioctl(fd, TETHER_TEST_UNREGISTER));
	EXPECT_EQ(1, counts_of(fd).releases);
	close(fd);
}

TEST_F(notifier, exec)
{
	int status, fd = open("/dev/tether-test", O_RDWR);
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (child == 0) {
		if (ioctl(fd, TETHER_TEST_REGISTER))
			_exit(1);
		execl("/bin/sleep", "sleep", "0.5", NULL);
		_exit(2);
	}
	usleep(250000);
	EXPECT_EQ(1, counts_of(fd).releases);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_EQ(1, counts_of(fd).releases);
	close(fd);
}

FIXTURE(interval)
{
	int fd;
	size_t page;
	char *memory;
};

FIXTURE_SETUP(interval)
{
	uint64_t range[2];

	self->fd = open("/dev/rust-interval-notifier", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->page = sysconf(_SC_PAGESIZE);
	self->memory = mmap(NULL, 16 * self->page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->memory);
	range[0] = (uintptr_t)self->memory + 4 * self->page;
	range[1] = 4 * self->page;
	ASSERT_EQ(sizeof(range), write(self->fd, range, sizeof(range)));
}

FIXTURE_TEARDOWN(interval)
{
	close(self->fd);
}

static char valid(int fd)
{
	char text[2] = "?";

	return pread(fd, text, 2, 0) == 2 ? text[0] : '!';
}

TEST_F(interval, inside)
{
	EXPECT_EQ('1', valid(self->fd));
	ASSERT_EQ(0, madvise(self->memory + 5 * self->page, self->page, MADV_DONTNEED));
	EXPECT_EQ('0', valid(self->fd));
}

TEST_F(interval, outside)
{
	ASSERT_EQ(0, munmap(self->memory, 4 * self->page));
	ASSERT_EQ(0, munmap(self->memory + 8 * self->page, 8 * self->page));
	EXPECT_EQ('1', valid(self->fd));
	ASSERT_EQ(0, munmap(self->memory + 7 * self->page, self->page));
	EXPECT_EQ('0', valid(self->fd));
}

TEST_F(interval, again)
{
	uint64_t range[2] = { (uintptr_t)self->memory, self->page };

	ASSERT_EQ(0, munmap(self->memory + 4 * self->page, self->page));
	EXPECT_EQ('0', valid(self->fd));
	ASSERT_EQ(sizeof(range), write(self->fd, range, sizeof(range)));
	EXPECT_EQ('1', valid(self->fd));
}

TEST_F(interval, bad_input)
{
	uint64_t range[2] = { (uintptr_t)self->memory, 0 };

	EXPECT_EQ(-1, write(self->fd, range, sizeof(range)));
	EXPECT_EQ(EOVERFLOW, errno);
	range[0] = UINT64_MAX - 4096;
	range[1] = 3 * 4096;
	EXPECT_EQ(-1, write(self->fd, range, sizeof(range)));
	EXPECT_EQ(EOVERFLOW, errno);
	EXPECT_EQ(-1, write(self->fd, range, 8));
	EXPECT_EQ(EINVAL, errno);
	/* What was registered before is not lost. */
	EXPECT_EQ('1', valid(self->fd));
}

TEST_HARNESS_MAIN
