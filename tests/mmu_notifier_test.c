// SPDX-License-Identifier: GPL-2.0
/*
 * Notifiers, as processes see them. Needs tether, tether_test, test_mmu_notifier and
 * rust_interval_notifier.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "test_mmu_notifier.h"
#include "tether_test.h"

static void *populated(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
}

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
	self->memory = populated(self->size);
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

/* All kinds of notifiers, which test_mmu_notifier has. */
FIXTURE(kinds)
{
	int fd;
	size_t size;
	char *memory;
};

FIXTURE_SETUP(kinds)
{
	self->fd = open("/dev/test-mmu-notifier", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->size = 16 * sysconf(_SC_PAGESIZE);
	self->memory = populated(self->size);
	ASSERT_NE(MAP_FAILED, self->memory);
}

static struct mmu_test_counts heard(int fd)
{
	struct mmu_test_counts counts;

	if (ioctl(fd, MMU_TEST_COUNTS, &counts))
		_exit(99);
	return counts;
}

/* Each start had its end, and nothing came of another address space. */
static void close_balanced(struct __test_metadata *_metadata, int fd)
{
	struct mmu_test_counts counts;

	ASSERT_EQ(0, ioctl(fd, MMU_TEST_UNREGISTER));
	counts = heard(fd);
	EXPECT_EQ(counts.starts, counts.ends);
	EXPECT_EQ(0, counts.elsewhere);
	close(fd);
}

FIXTURE_TEARDOWN(kinds)
{
	close_balanced(_metadata, self->fd);
}

/* What each hears when memory goes. */
TEST_F(kinds, munmap)
{
	struct mmu_test_counts counts;
	int kind;

	for (kind = 0; kind < MMU_TEST_KINDS; kind++)
		ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REGISTER, kind));
	EXPECT_EQ(-1, ioctl(self->fd, MMU_TEST_REGISTER, MMU_TEST_KINDS));
	ASSERT_EQ(0, munmap(self->memory, self->size));
	counts = heard(self->fd);
	/* Two hear of ranges: one of them ages as well. */
	EXPECT_LE(2, counts.starts);
	EXPECT_LE(1, counts.blockable);
	EXPECT_EQ(0, counts.tried);
	EXPECT_LE(1, counts.tlbs);
	EXPECT_EQ(0, counts.releases);
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_UNREGISTER));
	EXPECT_EQ(MMU_TEST_KINDS, heard(self->fd).releases);
}

/*
 * What is delivered when: the rows of the table in Documentation/mmu_notifier.rst. Each test does one
 * thing, and knows of all that the notifier hears.
 */
FIXTURE(delivered)
{
	int fd;
	size_t size;
	char *memory;
	struct mmu_test_counts before;
};

FIXTURE_SETUP(delivered)
{
	self->fd = open("/dev/test-mmu-notifier", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->size = 16 * sysconf(_SC_PAGESIZE);
	self->memory = populated(self->size);
	ASSERT_NE(MAP_FAILED, self->memory);
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REGISTER, MMU_TEST_RANGES));
	self->before = heard(self->fd);
}

FIXTURE_TEARDOWN(delivered)
{
	close_balanced(_metadata, self->fd);
}

/*
 * Heard of @event since the setup, and of nothing else but pages that were copied on write, as we were
 * forked; always blockable.
 */
#define EXPECT_ONLY(event) do {							\
	struct mmu_test_counts now = heard(self->fd);				\
	__s64 cleared = now.clear - self->before.clear;				\
	__s64 expected = strcmp(#event, "clear") ? now.event - self->before.event : 0; \
	EXPECT_LT(self->before.event, now.event);				\
	EXPECT_EQ(expected, now.starts - self->before.starts - cleared);	\
	EXPECT_EQ(0, now.nonblockable);						\
	EXPECT_EQ(0, now.releases);						\
} while (0)

TEST_F(delivered, munmap)
{
	ASSERT_EQ(0, munmap(self->memory, self->size));
	EXPECT_ONLY(unmap);
}

TEST_F(delivered, mremap)
{
	void *elsewhere = mmap(NULL, self->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, mremap(self->memory, self->size, self->size,
				     MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere));
	EXPECT_ONLY(unmap);
}

TEST_F(delivered, madvise)
{
	ASSERT_EQ(0, madvise(self->memory, self->size, MADV_DONTNEED));
	EXPECT_ONLY(clear);
}

TEST_F(delivered, mprotect)
{
	ASSERT_EQ(0, mprotect(self->memory, self->size, PROT_READ));
	EXPECT_ONLY(protection_vma);
}

/* Pages become read-only here; the child is not heard of. */
TEST_F(delivered, fork)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		munmap(self->memory, self->size);
		_exit(0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, heard(self->fd).unmap);
	EXPECT_LT(self->before.protection_page, heard(self->fd).protection_page);
	EXPECT_EQ(0, heard(self->fd).releases);
}

TEST_F(delivered, copy_on_write)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		pause();
		_exit(0);
	}
	self->before = heard(self->fd);
	*self->memory = 1;
	EXPECT_LT(self->before.clear, heard(self->fd).clear);
	kill(child, SIGKILL);
	ASSERT_EQ(child, waitpid(child, &status, 0));
}

/* A process that ends, or executes another program: its address space is released, once. */
static void end_of(struct __test_metadata *_metadata, int fd, int execute)
{
	__s64 before = heard(fd).releases;
	int status, tries;
	pid_t child = fork();

	if (child == 0) {
		if (ioctl(fd, MMU_TEST_REGISTER, MMU_TEST_RANGES))
			_exit(1);
		raise(SIGSTOP);
		if (execute)
			execl("/bin/sleep", "sleep", "60", NULL);
		_exit(0);
	}
	ASSERT_EQ(child, waitpid(child, &status, WUNTRACED));
	EXPECT_EQ(before, heard(fd).releases);
	kill(child, SIGCONT);
	for (tries = 0; tries < 500 && heard(fd).releases == before; tries++)
		usleep(10000);
	EXPECT_EQ(before + 1, heard(fd).releases);
	/* The program that was executed goes on, in another address space. */
	if (execute) {
		EXPECT_EQ(0, waitpid(child, &status, WNOHANG));
		kill(child, SIGKILL);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(before + 1, heard(fd).releases);
}

TEST_F(delivered, exit)
{
	end_of(_metadata, self->fd, 0);
}

TEST_F(delivered, exec)
{
	end_of(_metadata, self->fd, 1);
}

/* Waits until so many shared notifiers were dropped: that is done later. */
static __s64 wait_for_drops(int fd, __s64 count)
{
	int tries;

	for (tries = 0; tries < 1000 && heard(fd).shared_dropped < count; tries++)
		usleep(10000);
	return heard(fd).shared_dropped;
}

/* All files of a process share one; it goes with the last reference. */
TEST_F(kinds, shared)
{
	struct mmu_test_counts before = heard(self->fd);
	int other = open("/dev/test-mmu-notifier", O_RDWR | O_CLOEXEC), status;
	pid_t child;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_GET));
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_GET));
	ASSERT_EQ(0, ioctl(other, MMU_TEST_GET));
	EXPECT_EQ(before.shared_made + 1, heard(self->fd).shared_made);
	/* A child has an address space of its own. */
	child = fork();
	if (child == 0)
		_exit(ioctl(other, MMU_TEST_GET) || ioctl(other, MMU_TEST_PUT));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_EQ(before.shared_made + 2, heard(self->fd).shared_made);
	EXPECT_EQ(before.shared_dropped + 1, wait_for_drops(self->fd, before.shared_dropped + 1));
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_PUT));
	close(other);
	usleep(100000);
	EXPECT_EQ(before.shared_dropped + 1, heard(self->fd).shared_dropped);
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_PUT));
	EXPECT_EQ(-1, ioctl(self->fd, MMU_TEST_PUT));
	EXPECT_EQ(ENOENT, errno);
	EXPECT_EQ(before.shared_dropped + 2, wait_for_drops(self->fd, before.shared_dropped + 2));
	/* And another one is made, if one is wanted. */
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_GET));
	EXPECT_EQ(before.shared_made + 3, heard(self->fd).shared_made);
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_PUT));
	EXPECT_EQ(before.shared_dropped + 3, wait_for_drops(self->fd, before.shared_dropped + 3));
}

/* What has the life of an address space lets go of itself when that ends. */
TEST_F(kinds, shared_by_itself)
{
	struct mmu_test_counts before = heard(self->fd);
	int round, status;

	for (round = 0; round < 20; round++) {
		pid_t child = fork();

		if (child == 0)
			_exit(ioctl(self->fd, MMU_TEST_GET_SELF) ? 1 : 0);
		ASSERT_EQ(child, waitpid(child, &status, 0));
		ASSERT_EQ(0, status);
	}
	EXPECT_EQ(before.shared_made + 20, heard(self->fd).shared_made);
	EXPECT_EQ(before.shared_dropped + 20, wait_for_drops(self->fd, before.shared_dropped + 20));
}

static void *get_and_put(void *fd)
{
	int round;

	for (round = 0; round < 200; round++)
		if (ioctl(*(int *)fd, MMU_TEST_GET) || ioctl(*(int *)fd, MMU_TEST_PUT))
			return "an error";
	return NULL;
}

/* Threads that get and put at once: one is there, or none. */
TEST_F(kinds, shared_race)
{
	pthread_t threads[4];
	void *error;
	size_t i;

	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, get_and_put, &self->fd));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], &error));
		EXPECT_EQ(NULL, error);
	}
	EXPECT_EQ(heard(self->fd).shared_made,
		  wait_for_drops(self->fd, heard(self->fd).shared_made));
}

#define CGROUP "/tmp/cgroup"

/* Reclaim asks which pages were used, and leaves those alone. */
TEST_F(kinds, age)
{
	char *memory;

	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REGISTER, MMU_TEST_AGE));
	/* Somewhere to go, and a group that is made to. */
	ASSERT_EQ(0, system("mkswap /dev/ram0 >/dev/null && swapon /dev/ram0 && mkdir -p " CGROUP
			    " && mount -t cgroup2 none " CGROUP " && echo +memory >" CGROUP
			    "/cgroup.subtree_control && mkdir -p " CGROUP "/age"));
	/* 0 is who writes it. */
	ASSERT_EQ(0, write_file(CGROUP "/age/cgroup.procs", "0"));
	memory = populated(1 << 20);
	ASSERT_NE(MAP_FAILED, memory);
	/* It may find nothing to take. */
	write_file(CGROUP "/age/memory.reclaim", "1M");
	EXPECT_LE(1, heard(self->fd).aged);
	munmap(memory, 1 << 20);
	ASSERT_EQ(0, write_file(CGROUP "/cgroup.procs", "0"));
	ASSERT_EQ(0, system("rmdir " CGROUP "/age && umount " CGROUP " && swapoff /dev/ram0"));
}

/*
 * A process that has begun to exit, but has its memory still; with notifiers of the file, of these two
 * kinds. It goes when it is continued.
 */
static pid_t exiting(struct __test_metadata *_metadata, int fd, int first, int second)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) || ioctl(fd, MMU_TEST_REGISTER, first) ||
		    ioctl(fd, MMU_TEST_REGISTER, second))
			_exit(1);
		raise(SIGSTOP);
		_exit(0);
	}
	ASSERT_LT(0, child);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	ASSERT_TRUE(WIFSTOPPED(status));
	ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACEEXIT));
	ASSERT_EQ(0, ptrace(PTRACE_CONT, child, NULL, NULL));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	ASSERT_EQ(SIGTRAP | PTRACE_EVENT_EXIT << 8, status >> 8);
	return child;
}

/*
 * process_mrelease() does what the OOM reaper does: it must not sleep. One of two notifiers says that it
 * would have to; the other one hears of the end of what it has heard the beginning of.
 */
TEST_F(kinds, reaping)
{
	pid_t child = exiting(_metadata, self->fd, MMU_TEST_RANGES, MMU_TEST_TRY_RANGES);
	int status, pidfd = syscall(SYS_pidfd_open, child, 0);
	struct mmu_test_counts counts;

	ASSERT_LE(0, pidfd);
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REFUSE, 1000000));
	EXPECT_EQ(-1, syscall(SYS_process_mrelease, pidfd, 0));
	EXPECT_EQ(EAGAIN, errno);
	counts = heard(self->fd);
	EXPECT_LE(1, counts.tried);
	EXPECT_EQ(counts.tried, counts.refused);
	EXPECT_EQ(counts.starts, counts.ends);
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REFUSE, 0));
	EXPECT_EQ(0, syscall(SYS_process_mrelease, pidfd, 0));
	EXPECT_LT(counts.tried, heard(self->fd).tried);
	EXPECT_EQ(counts.refused, heard(self->fd).refused);
	ASSERT_EQ(0, ptrace(PTRACE_CONT, child, NULL, NULL));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(2, heard(self->fd).releases);
	close(pidfd);
}

/* An address space that has no users any more, but notifiers. */
TEST_F(kinds, unregistered_after_the_end)
{
	int status, round;

	for (round = 0; round < 20; round++) {
		pid_t child = exiting(_metadata, self->fd, MMU_TEST_RANGES, MMU_TEST_SECONDARY_TLBS);

		ASSERT_EQ(0, ptrace(PTRACE_CONT, child, NULL, NULL));
		/* The one races with the other. */
		if (round % 2)
			ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_UNREGISTER));
		ASSERT_EQ(child, waitpid(child, &status, 0));
		ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_UNREGISTER));
		EXPECT_EQ(2 * (round + 1), heard(self->fd).releases);
	}
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
	self->memory = populated(16 * self->page);
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
