// SPDX-License-Identifier: GPL-2.0
/*
 * Notifiers as user space sees them. Needs the modules tether, tether_test, test_mmu_notifier and
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
#include <time.h>
#include <unistd.h>
#include <linux/userfaultfd.h>

#include "harness.h"
#include "storm.h"
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

	/* No invalidation is in progress: each start was followed by an end. */
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

/* fork() makes pages read-only in the parent, which is notified; the child is not watched. */
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

/* Unregistering calls release() once; afterwards, no callback is counted. */
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

/* The end of the address space calls release() once; unregistering afterwards does not. */
TEST_F(notifier, exit)
{
	int status, fd = open("/dev/tether-test", O_RDWR);
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (child == 0)
		_exit(ioctl(fd, TETHER_TEST_REGISTER) ? 1 : 0);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_EQ(1, counts_of(fd).releases);
	ASSERT_EQ(0, ioctl(fd, TETHER_TEST_UNREGISTER));
	EXPECT_EQ(1, counts_of(fd).releases);
	close(fd);
}

TEST_F(notifier, exec)
{
	int tries, status, fd = open("/dev/tether-test", O_RDWR);
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (child == 0) {
		if (ioctl(fd, TETHER_TEST_REGISTER))
			_exit(1);
		execl("/bin/sleep", "sleep", "1000", NULL);
		_exit(2);
	}
	for (tries = 0; tries < 1000 && !counts_of(fd).releases; tries++)
		usleep(10000);
	/* The process still exists; its address space does not. */
	EXPECT_EQ(1, counts_of(fd).releases);
	ASSERT_EQ(0, kill(child, SIGKILL));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	ASSERT_EQ(SIGKILL, status);
	EXPECT_EQ(1, counts_of(fd).releases);
	close(fd);
}

/* The notifiers of test_mmu_notifier, of all kinds. */
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

/* Asserts that each start had an end, and that no callback was for another address space. */
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

/* The callbacks of each kind when memory is unmapped. */
TEST_F(kinds, munmap)
{
	struct mmu_test_counts counts;
	int kind;

	for (kind = 0; kind < MMU_TEST_KINDS; kind++)
		ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REGISTER, kind));
	EXPECT_EQ(-1, ioctl(self->fd, MMU_TEST_REGISTER, MMU_TEST_ALL_KINDS));
	ASSERT_EQ(0, munmap(self->memory, self->size));
	counts = heard(self->fd);
	/* Two notifiers have range callbacks: of the kinds "ranges" and "age". */
	EXPECT_LE(2, counts.starts);
	EXPECT_LE(1, counts.blockable);
	EXPECT_EQ(0, counts.tried);
	EXPECT_LE(1, counts.tlbs);
	EXPECT_EQ(0, counts.releases);
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_UNREGISTER));
	EXPECT_EQ(MMU_TEST_KINDS, heard(self->fd).releases);
}

/*
 * The callbacks for each operation: the rows of the table in Documentation/mmu_notifier.rst. Each
 * test performs a single operation, and checks all callbacks of the notifier.
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
 * Asserts that only @event was delivered since the setup, always blockable. Additional "clear"
 * events are allowed: the process was forked, so that writes copy pages.
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

/* Pages become read-only in the parent; the child's address space is not watched. */
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

/* A process exits or executes another program: its address space is released exactly once. */
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
	/* The executed program continues in another address space. */
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

/* Waits until this many shared notifiers were dropped, which happens with a delay. */
static __s64 wait_for_drops(int fd, __s64 count)
{
	int tries;

	for (tries = 0; tries < 1000 && heard(fd).shared_dropped < count; tries++)
		usleep(10000);
	return heard(fd).shared_dropped;
}

/* All files of a process share a notifier; the last reference drops it. */
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
	/* A child has another address space, and hence another shared notifier. */
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
	/* After the last reference was dropped, the next call creates a new notifier. */
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_GET));
	EXPECT_EQ(before.shared_made + 3, heard(self->fd).shared_made);
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_PUT));
	EXPECT_EQ(before.shared_dropped + 3, wait_for_drops(self->fd, before.shared_dropped + 3));
}

/* A shared notifier that owns a reference to itself drops it when the address space ends. */
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

/* Two types have separate shared notifiers, even if they differ only by their names. */
TEST_F(kinds, shared_by_type)
{
	struct mmu_test_counts before = heard(self->fd);

	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_GET));
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_GET_OTHER));
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_GET_OTHER));
	EXPECT_EQ(before.shared_made + 2, heard(self->fd).shared_made);
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_PUT));
	EXPECT_EQ(before.shared_dropped + 1, wait_for_drops(self->fd, before.shared_dropped + 1));
	usleep(100000);
	EXPECT_EQ(before.shared_dropped + 1, heard(self->fd).shared_dropped);
}

static void *get_and_put(void *rounds)
{
	int round, fd = open("/dev/test-mmu-notifier", O_RDWR);

	for (round = 0; round < *(int *)rounds; round++)
		if (ioctl(fd, MMU_TEST_GET) || ioctl(fd, MMU_TEST_PUT))
			return "an error";
	close(fd);
	return NULL;
}

/*
 * Threads get and put a shared notifier concurrently, with and without a reference that keeps the
 * notifier alive: each created notifier is dropped.
 */
TEST_F(kinds, shared_race)
{
	struct mmu_test_counts counts;
	pthread_t threads[4];
	int held, rounds;
	void *error;
	size_t i;

	for (held = 0; held < 2; held++) {
		rounds = held ? 5000 : 200;
		counts = heard(self->fd);
		if (held)
			ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_GET));
		for (i = 0; i < 4; i++)
			ASSERT_EQ(0, pthread_create(&threads[i], NULL, get_and_put, &rounds));
		for (i = 0; i < 4; i++) {
			ASSERT_EQ(0, pthread_join(threads[i], &error));
			EXPECT_EQ(NULL, error);
		}
		if (held) {
			EXPECT_EQ(counts.shared_made + 1, heard(self->fd).shared_made);
			EXPECT_EQ(counts.shared_dropped, heard(self->fd).shared_dropped);
			ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_PUT));
		}
		EXPECT_EQ(heard(self->fd).shared_made,
			  wait_for_drops(self->fd, heard(self->fd).shared_made));
	}
}

static void *insert_and_remove(void *unused)
{
	int round, fd = open("/dev/test-mmu-notifier", O_RDWR);

	for (round = 0; round < 2000; round++)
		if (ioctl(fd, MMU_TEST_REGISTER, MMU_TEST_INTERVAL) ||
		    ioctl(fd, MMU_TEST_UNREGISTER))
			return "an error";
	close(fd);
	return NULL;
}

/* Threads register and unregister concurrently: all registrations of a module are on one list. */
TEST_F(kinds, inserted_at_once)
{
	pthread_t threads[4];
	void *error;
	size_t i;

	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, insert_and_remove, NULL));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], &error));
		EXPECT_EQ(NULL, error);
	}
}

#define CGROUP "/tmp/cgroup"

/* Reclaim queries the age of pages, and does not reclaim pages that were used. */
TEST_F(kinds, age)
{
	char *memory;

	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REGISTER, MMU_TEST_AGE));
	/* Set up swap space, and a group to reclaim memory from. */
	ASSERT_EQ(0, system("mkswap /dev/ram0 >/dev/null && swapon /dev/ram0 && mkdir -p " CGROUP
			    " && mount -t cgroup2 none " CGROUP " && echo +memory >" CGROUP
			    "/cgroup.subtree_control && mkdir -p " CGROUP "/age"));
	/* 0 stands for the writing process. */
	ASSERT_EQ(0, write_file(CGROUP "/age/cgroup.procs", "0"));
	memory = populated(1 << 20);
	ASSERT_NE(MAP_FAILED, memory);
	/* Fails if there is nothing to reclaim. */
	write_file(CGROUP "/age/memory.reclaim", "1M");
	EXPECT_LE(1, heard(self->fd).aged);
	munmap(memory, 1 << 20);
	ASSERT_EQ(0, write_file(CGROUP "/cgroup.procs", "0"));
	ASSERT_EQ(0, system("rmdir " CGROUP "/age && umount " CGROUP " && swapoff /dev/ram0"));
}

/*
 * Returns a process that has begun to exit and still has its memory, with two notifiers of these
 * kinds. The process ends when it is continued.
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
 * process_mrelease() invalidates as the OOM reaper does, without sleeping. One notifier refuses
 * because it would have to sleep; the other notifier still gets an end for each start.
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

/*
 * A notifier of the whole address space refuses, beside an interval notifier. Both can be removed
 * afterwards, because the kernel ends the invalidation for each notifier that it has notified.
 */
TEST_F(kinds, refusing_beside_an_interval)
{
	pid_t child = exiting(_metadata, self->fd, MMU_TEST_INTERVAL, MMU_TEST_TRY_RANGES);
	int status, pidfd = syscall(SYS_pidfd_open, child, 0);
	struct mmu_test_counts counts;

	ASSERT_LE(0, pidfd);
	/* The notifier that is asked first refuses; both ranges begin at 0. */
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REFUSE, 1));
	EXPECT_EQ(-1, syscall(SYS_process_mrelease, pidfd, 0));
	EXPECT_EQ(EAGAIN, errno);
	counts = heard(self->fd);
	EXPECT_EQ(1, counts.refused);
	EXPECT_EQ(0, ioctl(self->fd, MMU_TEST_UNREGISTER));
	EXPECT_EQ(0, syscall(SYS_process_mrelease, pidfd, 0));
	ASSERT_EQ(0, ptrace(PTRACE_CONT, child, NULL, NULL));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	close(pidfd);
}

/*
 * All first passes of an invalidation run before the first second pass, and each second pass is
 * finished before the memory is freed.
 */
TEST_F(kinds, two_passes)
{
	struct mmu_test_counts counts;
	int i;

	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REGISTER, MMU_TEST_TWO_PASSES));
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REGISTER, MMU_TEST_INTERVAL));
	ASSERT_EQ(0, madvise(self->memory, self->size, MADV_DONTNEED));
	counts = heard(self->fd);
	EXPECT_LE(4, counts.begun);
	EXPECT_EQ(counts.begun, counts.finished);
	EXPECT_EQ(4, counts.most_begun);
	EXPECT_LE(1, counts.invalidated);
	EXPECT_EQ(0, counts.tried);
}

static int discard_over;

static void *discard(void *memory)
{
	while (!__atomic_load_n(&discard_over, __ATOMIC_RELAXED)) {
		madvise(memory, 4096, MADV_DONTNEED);
		*(volatile char *)memory = 1;
	}
	return NULL;
}

/* Two concurrent invalidations of a range: each finishes its own second pass. */
TEST_F(kinds, two_passes_at_once)
{
	struct mmu_test_counts counts;
	pthread_t threads[2];
	int i;

	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REGISTER, MMU_TEST_TWO_PASSES));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, discard, self->memory + i * 4096));
	for (i = 0; i < 1000 && heard(self->fd).most_begun < 2; i++)
		usleep(10000);
	__atomic_store_n(&discard_over, 1, __ATOMIC_RELAXED);
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	counts = heard(self->fd);
	EXPECT_EQ(2, counts.most_begun);
	EXPECT_EQ(counts.begun, counts.finished);
}

/* A notifier is registered and removed while its range is continuously invalidated. */
TEST_F(kinds, removed_while_invalidated)
{
	struct mmu_test_counts counts;
	pthread_t thread;
	int round;

	ASSERT_EQ(0, pthread_create(&thread, NULL, discard, self->memory));
	for (round = 0; round < 200; round++) {
		ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REGISTER, MMU_TEST_INTERVAL));
		ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REGISTER, MMU_TEST_TWO_PASSES));
		if (round % 2)
			usleep(100);
		ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_UNREGISTER));
		counts = heard(self->fd);
		EXPECT_EQ(counts.begun, counts.finished);
	}
	EXPECT_LT(0, counts.invalidated);
	EXPECT_LT(0, counts.begun);
	__atomic_store_n(&discard_over, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	/* No callback runs after the notifier was removed. */
	EXPECT_EQ(counts.invalidated, heard(self->fd).invalidated);
}

static void *hold(void *fd)
{
	return (void *)(intptr_t)ioctl(*(int *)fd, MMU_TEST_HOLD, 1000);
}

static void *look_up(void *fd)
{
	return (void *)(intptr_t)ioctl(*(int *)fd, MMU_TEST_READ, 500);
}

/* If an invalidation races with a look-up, the result is not recorded; the look-up is repeated. */
TEST_F(kinds, looked_up_again)
{
	static const int kinds[] = { MMU_TEST_INTERVAL, MMU_TEST_TWO_PASSES };
	pthread_t thread;
	int64_t before;
	size_t kind;
	void *ret;
	int i;

	for (kind = 0; kind < 2; kind++) {
		ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REGISTER, kinds[kind]));
		before = heard(self->fd).looked_up;
		ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_READ, 0));
		EXPECT_LT(before, heard(self->fd).looked_up);

		before = heard(self->fd).looked_up;
		ASSERT_EQ(0, pthread_create(&thread, NULL, look_up, &self->fd));
		for (i = 0; heard(self->fd).looked_up == before && i < 10000; i++)
			usleep(1000);
		EXPECT_EQ(before + 1, heard(self->fd).looked_up);
		self->memory[0] = 1;
		ASSERT_EQ(0, madvise(self->memory, 4096, MADV_DONTNEED));
		ASSERT_EQ(0, pthread_join(thread, &ret));
		ASSERT_EQ(NULL, ret);
		EXPECT_LE(before + 2, heard(self->fd).looked_up);
		ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_UNREGISTER));
	}
}

static void *sequence(void *fd)
{
	return (void *)(intptr_t)ioctl(*(int *)fd, MMU_TEST_SEQUENCE, 500);
}

/* A look-up in two steps: its result is refused if the range was invalidated in between. */
TEST_F(kinds, looked_up_in_two_steps)
{
	pthread_t thread;
	void *ret;

	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REGISTER, MMU_TEST_INTERVAL));
	EXPECT_EQ(0, ioctl(self->fd, MMU_TEST_SEQUENCE, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, sequence, &self->fd));
	/* Until the ioctl has returned, each change may be before its begin. */
	while (pthread_tryjoin_np(thread, &ret)) {
		self->memory[0] = 1;
		ASSERT_EQ(0, madvise(self->memory, 4096, MADV_DONTNEED));
		usleep(1000);
	}
	EXPECT_EQ(1, (intptr_t)ret);
	EXPECT_EQ(0, ioctl(self->fd, MMU_TEST_SEQUENCE, 0));
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_UNREGISTER));
	EXPECT_EQ(-1, ioctl(self->fd, MMU_TEST_SEQUENCE, 0));
	EXPECT_EQ(ENOENT, errno);
}

/* An invalidation that must not sleep does not wait for the lock either, and may be refused. */
TEST_F(kinds, interval_reaping)
{
	pid_t child = exiting(_metadata, self->fd, MMU_TEST_INTERVAL, MMU_TEST_RELEASE_ONLY);
	int status, pidfd = syscall(SYS_pidfd_open, child, 0);
	struct mmu_test_counts counts;
	pthread_t thread;
	void *ret;

	ASSERT_LE(0, pidfd);
	ASSERT_EQ(0, pthread_create(&thread, NULL, hold, &self->fd));
	usleep(200000);
	EXPECT_EQ(-1, syscall(SYS_process_mrelease, pidfd, 0));
	EXPECT_EQ(EAGAIN, errno);
	/* The notifier was not called, because the lock was held. */
	EXPECT_EQ(0, heard(self->fd).tried);
	ASSERT_EQ(0, pthread_join(thread, &ret));
	ASSERT_EQ(NULL, ret);

	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REFUSE, 1000000));
	counts = heard(self->fd);
	EXPECT_EQ(-1, syscall(SYS_process_mrelease, pidfd, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_LT(0, heard(self->fd).refused);
	EXPECT_EQ(counts.invalidated, heard(self->fd).invalidated);

	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REFUSE, 0));
	EXPECT_EQ(0, syscall(SYS_process_mrelease, pidfd, 0));
	EXPECT_LT(counts.invalidated, heard(self->fd).invalidated);
	ASSERT_EQ(0, ptrace(PTRACE_CONT, child, NULL, NULL));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	close(pidfd);
}

/* The end of an address space invalidates all of it, blockably, and in two passes where defined. */
TEST_F(kinds, interval_exit)
{
	pid_t child = exiting(_metadata, self->fd, MMU_TEST_INTERVAL, MMU_TEST_TWO_PASSES);
	struct mmu_test_counts before = heard(self->fd), after;
	int status;

	ASSERT_EQ(0, ptrace(PTRACE_CONT, child, NULL, NULL));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	after = heard(self->fd);
	/* Further invalidations may follow the first one. */
	EXPECT_LE(before.invalidated + 1, after.invalidated);
	EXPECT_LE(before.begun + 1, after.begun);
	EXPECT_EQ(after.begun, after.finished);
	EXPECT_EQ(0, after.tried);
}

/* The last close of a file races with the exit of the process that its notifiers watch. */
TEST_F(kinds, closed_while_exiting)
{
	int round, status;

	for (round = 0; round < 50; round++) {
		int fd = open("/dev/test-mmu-notifier", O_RDWR | O_CLOEXEC), ready[2];
		char byte;
		pid_t child;

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, pipe(ready));
		child = fork();
		if (child == 0) {
			int kind;

			for (kind = 0; kind < MMU_TEST_ALL_KINDS; kind++)
				if (ioctl(fd, MMU_TEST_REGISTER, kind))
					_exit(1);
			if (ioctl(fd, MMU_TEST_GET_SELF))
				_exit(2);
			write(ready[1], "", 1);
			/* exit() instead of close(): the exit closes the file. */
			_exit(0);
		}
		ASSERT_EQ(1, read(ready[0], &byte, 1));
		if (round % 2)
			usleep(round * 20);
		close(fd);
		ASSERT_EQ(child, waitpid(child, &status, 0));
		ASSERT_EQ(0, status);
		close(ready[0]);
		close(ready[1]);
	}
	EXPECT_EQ(heard(self->fd).shared_made,
		  wait_for_drops(self->fd, heard(self->fd).shared_made));
}

/*
 * If a notifier is unregistered while the end of the address space is calling release(), the kernel
 * calls release() again without checking. Tether passes only one of the calls on.
 */
TEST_F(kinds, released_once)
{
	pid_t child;
	int i, status;

	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_LINGER, 500));
	child = fork();
	if (child == 0)
		_exit(ioctl(self->fd, MMU_TEST_REGISTER, MMU_TEST_RELEASE_ONLY) ? 1 : 0);
	ASSERT_LT(0, child);
	for (i = 0; heard(self->fd).releases == 0 && i < 10000; i++)
		usleep(1000);
	ASSERT_EQ(0, waitpid(child, &status, WNOHANG));
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_UNREGISTER));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_EQ(1, heard(self->fd).releases);
}

/* Each page is faulted in as requested; a page that is only to be looked up is not faulted in. */
TEST_F(kinds, looked_up)
{
	struct mmu_test_fault fault = { .requests = { 0, 1, 2, 0 } };
	int page = self->size / 16, fd = self->fd, memory;
	char *fresh =
		mmap(NULL, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	madvise(fresh, 8 * page, MADV_NOHUGEPAGE);
	fault.address = (uintptr_t)fresh;
	ASSERT_EQ(0, ioctl(fd, MMU_TEST_FAULT, &fault));
	EXPECT_EQ(0, fault.found[0]);
	/* The zero page is found: a read does not make it writable. */
	EXPECT_EQ(MMU_TEST_VALID, fault.found[1]);
	EXPECT_EQ(MMU_TEST_VALID | MMU_TEST_WRITABLE, fault.found[2]);
	EXPECT_EQ(0, fault.found[3]);
	/* A snapshot changes nothing. */
	memset(fault.requests, 0, sizeof(fault.requests));
	ASSERT_EQ(0, ioctl(fd, MMU_TEST_FAULT, &fault));
	EXPECT_EQ(0, fault.found[0]);
	EXPECT_EQ(MMU_TEST_VALID, fault.found[1]);
	EXPECT_EQ(MMU_TEST_VALID | MMU_TEST_WRITABLE, fault.found[2]);

	/* Without a mapping, a snapshot contains an error, and a request fails. */
	ASSERT_EQ(0, munmap(fresh + page, page));
	ASSERT_EQ(0, ioctl(fd, MMU_TEST_FAULT, &fault));
	EXPECT_EQ(MMU_TEST_ERROR, fault.found[1]);
	fault.requests[1] = 1;
	EXPECT_EQ(-1, ioctl(fd, MMU_TEST_FAULT, &fault));
	EXPECT_EQ(EFAULT, errno);
	/* A page beyond the end of a file. */
	memory = memfd_create("looked_up", MFD_CLOEXEC);
	ASSERT_EQ(fresh + page,
		  mmap(fresh + page, page, PROT_READ, MAP_SHARED | MAP_FIXED, memory, 0));
	EXPECT_EQ(-1, ioctl(fd, MMU_TEST_FAULT, &fault));
	EXPECT_EQ(EFAULT, errno);
	/* A write request for a read-only mapping. */
	ASSERT_EQ(0, ftruncate(memory, page));
	ASSERT_EQ(0, ioctl(fd, MMU_TEST_FAULT, &fault));
	EXPECT_EQ(MMU_TEST_VALID, fault.found[1]);
	fault.requests[1] = 2;
	EXPECT_EQ(-1, ioctl(fd, MMU_TEST_FAULT, &fault));
	EXPECT_EQ(EPERM, errno);
	fault.address++;
	EXPECT_EQ(-1, ioctl(fd, MMU_TEST_FAULT, &fault));
	EXPECT_EQ(EINVAL, errno);
	close(memory);
}

/* Notifiers are unregistered from an address space that has no users any more. */
TEST_F(kinds, unregistered_after_the_end)
{
	int status, round;

	for (round = 0; round < 20; round++) {
		pid_t child =
			exiting(_metadata, self->fd, MMU_TEST_RANGES, MMU_TEST_SECONDARY_TLBS);

		ASSERT_EQ(0, ptrace(PTRACE_CONT, child, NULL, NULL));
		/* In every other round, unregistering races with the exit. */
		if (round % 2)
			ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_UNREGISTER));
		ASSERT_EQ(child, waitpid(child, &status, 0));
		ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_UNREGISTER));
		EXPECT_EQ(2 * (round + 1), heard(self->fd).releases);
	}
}

/* Dropping does not wait; the notifiers are released and removed soon afterwards. */
TEST_F(kinds, dropped_without_waiting)
{
	int i;

	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REGISTER, MMU_TEST_RELEASE_ONLY));
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REGISTER, MMU_TEST_INTERVAL));
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_LINGER, 500));
	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_DROP));
	/* When an interval notifier is removed, its whole range is invalidated. */
	for (i = 0; heard(self->fd).invalidated == 0 && i < 10000; i++)
		usleep(1000);
	EXPECT_EQ(1, heard(self->fd).releases);
	EXPECT_LE(1, heard(self->fd).invalidated);
}

/* A registration is dropped in its own callback. */
TEST_F(kinds, dropped_in_its_callback)
{
	int i, page;

	for (page = 0; page < 16; page++)
		ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_EVICT, self->memory + page * 4096));
	EXPECT_EQ(0, heard(self->fd).releases);
	ASSERT_EQ(0, munmap(self->memory, 16 * 4096));
	for (i = 0; heard(self->fd).releases != 16 && i < 10000; i++)
		usleep(1000);
	EXPECT_EQ(16, heard(self->fd).releases);
}

/* Under the lock of a shadow, a page fault would wait for the same lock: the copy fails instead. */
TEST_F(kinds, copied_under_the_lock)
{
	pid_t child;
	int status;

	ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REGISTER, MMU_TEST_INTERVAL));
	self->memory[0] = 1;
	EXPECT_EQ(0, ioctl(self->fd, MMU_TEST_COPY, self->memory));
	EXPECT_EQ(7, self->memory[0]);
	/* After the fork, a write copies the page. */
	child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	EXPECT_EQ(-1, ioctl(self->fd, MMU_TEST_COPY, self->memory));
	EXPECT_EQ(EFAULT, errno);
	kill(child, SIGKILL);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	/* After the lock was released, the page can be written again. */
	self->memory[0] = 2;
	EXPECT_EQ(2, self->memory[0]);
}

/* Pages that a closure unmaps with the shadow locked are invalidated when the closure returns. */
TEST_F(kinds, zapped_under_the_lock)
{
	static const int kinds[] = { MMU_TEST_INTERVAL, MMU_TEST_TWO_PASSES };
	struct mmu_test_counts before, after;
	size_t kind;

	/* A lockdep report disables lockdep for all later tests. */
	if (!access("/proc/lockdep", F_OK))
		SKIP(return, "lockdep reports this order of locks, as documented");
	for (kind = 0; kind < 2; kind++) {
		ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_REGISTER, kinds[kind]));
		self->memory[0] = 1;
		before = heard(self->fd);
		ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_ZAP, self->memory));
		after = heard(self->fd);
		EXPECT_LT(before.invalidated + before.begun, after.invalidated + after.begun);
		EXPECT_EQ(after.begun, after.finished);
		EXPECT_EQ(0, self->memory[0]);
		ASSERT_EQ(0, ioctl(self->fd, MMU_TEST_UNREGISTER));
	}
}

/* Registration needs the mmap_lock, which a driver's mmap() already holds. */
TEST_F(kinds, registered_in_mmap)
{
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_SHARED, self->fd, 0));
	EXPECT_EQ(EDEADLK, errno);
}

/* Returns memory that is registered with a userfaultfd, but never served. */
static char *unserved(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	char *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	reg.range.start = (uintptr_t)memory;
	reg.range.len = 4096;
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
		return NULL;
	return memory;
}

/* A look-up of a page that is never served respects its time-out, and its thread can be stopped. */
TEST_F(kinds, unserved)
{
	char *memory = unserved();
	struct timespec begun, now;
	int ms;

	ASSERT_NE(NULL, memory);
	clock_gettime(CLOCK_MONOTONIC, &begun);
	EXPECT_EQ(-1, ioctl(self->fd, MMU_TEST_FAULT_WITHIN, memory));
	EXPECT_EQ(EBUSY, errno);
	clock_gettime(CLOCK_MONOTONIC, &now);
	EXPECT_GT(3, now.tv_sec - begun.tv_sec);
	ms = ioctl(self->fd, MMU_TEST_FAULT_STOPPED, memory);
	EXPECT_LE(0, ms);
	EXPECT_GT(1000, ms);
}

/* An entry of the sample's shadow. */
struct entry {
	uint64_t page;
	uint64_t changes;
};

#define PRESENT		1
#define WRITABLE	2

FIXTURE(interval)
{
	int fd;
	int pagemap;
	size_t page;
	/* 16 pages; the shadow covers 4 of them, beginning at index "first". */
	char *memory;
	int first;
};

static int begin(int fd, const void *start, size_t length)
{
	uint64_t range[2] = { (uintptr_t)start, length };

	return write(fd, range, sizeof(range)) == sizeof(range) ? 0 : -1;
}

FIXTURE_SETUP(interval)
{
	self->fd = open("/dev/rust-interval-notifier", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->pagemap);
	self->page = sysconf(_SC_PAGESIZE);
	self->memory = mmap(NULL, 16 * self->page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->memory);
	madvise(self->memory, 16 * self->page, MADV_NOHUGEPAGE);
	memset(self->memory, 1, 16 * self->page);
	self->first = 4;
	ASSERT_EQ(0, begin(self->fd, self->memory + 4 * self->page, 4 * self->page));
}

FIXTURE_TEARDOWN(interval)
{
	close(self->fd);
	close(self->pagemap);
}

static int entry_of(int fd, int index, struct entry *entry)
{
	return pread(fd, entry, sizeof(*entry), index * sizeof(*entry)) == sizeof(*entry) ? 0 : -1;
}

/* Returns the physical address of a page according to the kernel, or 0. */
static uint64_t page_of(int pagemap, const void *address)
{
	uint64_t entry;

	if (pread(pagemap, &entry, sizeof(entry), (uintptr_t)address / 4096 * 8) != sizeof(entry))
		return UINT64_MAX;
	return entry >> 63 ? (entry & ((1ULL << 55) - 1)) << 12 : 0;
}

#define ENTRY(index) ({							\
	struct entry entry;						\
	ASSERT_EQ(0, entry_of(self->fd, (index) - self->first, &entry));	\
	entry;								\
})

/* Asserts that the shadow and the kernel agree about a page. */
#define EXPECT_SHADOW(index, flags) do {					\
	uint64_t page = page_of(self->pagemap, self->memory + (index) * self->page); \
									\
	ASSERT_NE(0, page);						\
	EXPECT_EQ(page | (flags), ENTRY(index).page);			\
} while (0)

/* The last page of the address range cannot be mapped, and its end address overflows to 0. */
TEST_F(interval, last_page)
{
	uint64_t last = -4096UL;
	struct entry entry;

	ASSERT_EQ(0, begin(self->fd, (void *)last, 4096));
	EXPECT_EQ(-1, entry_of(self->fd, 0, &entry));
	EXPECT_EQ(EINVAL, errno);
	/* The page before it is valid. */
	ASSERT_EQ(0, begin(self->fd, (void *)(last - 4096), 8192));
	ASSERT_EQ(0, entry_of(self->fd, 0, &entry));
	EXPECT_EQ(0, entry.page);
}

TEST_F(interval, inside)
{
	struct entry before = ENTRY(5);

	EXPECT_SHADOW(5, PRESENT | WRITABLE);
	EXPECT_SHADOW(6, PRESENT | WRITABLE);
	ASSERT_EQ(0, madvise(self->memory + 5 * self->page, self->page, MADV_DONTNEED));
	EXPECT_EQ(0, ENTRY(5).page);
	EXPECT_EQ(before.changes + 1, ENTRY(5).changes);
	EXPECT_SHADOW(6, PRESENT | WRITABLE);
	EXPECT_EQ(0, ENTRY(6).changes);
	/* Mapping a page does not invalidate. */
	self->memory[5 * self->page] = 1;
	EXPECT_SHADOW(5, PRESENT | WRITABLE);
	EXPECT_EQ(before.changes + 1, ENTRY(5).changes);
}

TEST_F(interval, outside)
{
	ENTRY(4);
	ENTRY(7);
	ASSERT_EQ(0, munmap(self->memory, 4 * self->page));
	ASSERT_EQ(0, munmap(self->memory + 8 * self->page, 8 * self->page));
	EXPECT_EQ(0, ENTRY(4).changes);
	EXPECT_EQ(0, ENTRY(7).changes);
	ASSERT_EQ(0, munmap(self->memory + 7 * self->page, self->page));
	EXPECT_EQ(0, ENTRY(7).page);
	EXPECT_EQ(1, ENTRY(7).changes);
	EXPECT_SHADOW(6, PRESENT | WRITABLE);
}

TEST_F(interval, protection)
{
	EXPECT_SHADOW(4, PRESENT | WRITABLE);
	ASSERT_EQ(0, mprotect(self->memory, 16 * self->page, PROT_READ));
	EXPECT_SHADOW(4, PRESENT);
	EXPECT_LE(1, ENTRY(4).changes);
	ASSERT_EQ(0, mprotect(self->memory, 16 * self->page, PROT_NONE));
	/* A device could not use a page without access rights. */
	EXPECT_EQ(0, ENTRY(4).page);
}

TEST_F(interval, moved)
{
	char *elsewhere =
		mmap(NULL, 16 * self->page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	EXPECT_SHADOW(4, PRESENT | WRITABLE);
	ASSERT_EQ(elsewhere, mremap(self->memory + 4 * self->page, 4 * self->page, 4 * self->page,
				    MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere));
	EXPECT_EQ(0, ENTRY(4).page);
	EXPECT_LE(1, ENTRY(4).changes);
}

/* A page that is shared with a child is read-only, and a write copies it. */
TEST_F(interval, copied)
{
	uint64_t before = ENTRY(4).page;
	int status;
	pid_t child = fork();

	if (child == 0) {
		pause();
		_exit(0);
	}
	EXPECT_EQ((before | WRITABLE) ^ WRITABLE, ENTRY(4).page);
	self->memory[4 * self->page] = 2;
	EXPECT_SHADOW(4, PRESENT | WRITABLE);
	EXPECT_NE(before, ENTRY(4).page);
	kill(child, SIGKILL);
	ASSERT_EQ(child, waitpid(child, &status, 0));
}

/* A child has another address space, and may have its own shadow of it. */
TEST_F(interval, child)
{
	struct entry entry;
	int status;
	pid_t child = fork();

	if (child == 0) {
		int own = open("/dev/rust-interval-notifier", O_RDWR | O_CLOEXEC);

		if (entry_of(self->fd, 0, &entry) != -1 || errno != EPERM)
			_exit(1);
		if (begin(own, self->memory, 16 * self->page) || entry_of(own, 0, &entry))
			_exit(2);
		_exit(entry.page & PRESENT ? 0 : 3);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_SHADOW(4, PRESENT);
}

TEST_F(interval, again)
{
	ASSERT_EQ(0, munmap(self->memory + 4 * self->page, self->page));
	EXPECT_EQ(0, ENTRY(4).page);
	ASSERT_EQ(0, begin(self->fd, self->memory, self->page));
	self->first = 0;
	EXPECT_SHADOW(0, PRESENT | WRITABLE);
	EXPECT_EQ(0, ENTRY(0).changes);
}

TEST_F(interval, bad_input)
{
	struct entry entry[5];

	EXPECT_EQ(-1, begin(self->fd, self->memory, 0));
	EXPECT_EQ(EOVERFLOW, errno);
	EXPECT_EQ(-1, begin(self->fd, (void *)(UINTPTR_MAX & ~4095UL), 3 * 4096));
	EXPECT_EQ(EOVERFLOW, errno);
	EXPECT_EQ(-1, begin(self->fd, self->memory + 1, 4096));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, begin(self->fd, self->memory, 4095));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, begin(self->fd, self->memory, 1UL << 40));
	EXPECT_EQ(E2BIG, errno);
	EXPECT_EQ(-1, write(self->fd, entry, 8));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pread(self->fd, entry, 15, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pread(self->fd, entry, 16, 8));
	EXPECT_EQ(EINVAL, errno);
	ASSERT_EQ(0, munmap(self->memory + 15 * self->page, self->page));
	EXPECT_EQ(-1, pread(self->fd, self->memory + 15 * self->page, 16, 0));
	EXPECT_EQ(EFAULT, errno);
	/* The previous shadow is still valid, and a read() ends at its end. */
	EXPECT_SHADOW(4, PRESENT | WRITABLE);
	EXPECT_EQ(4 * 16, pread(self->fd, entry, sizeof(entry), 0));
	EXPECT_EQ(0, pread(self->fd, entry, sizeof(entry), 4 * 16));
	EXPECT_EQ(0, pread(self->fd, entry, sizeof(entry), 400 * 16));
}

/*
 * A shadow of memory never shows a page that was unmapped, while random operations change the
 * memory. Other threads read the shadow continuously, so that it has entries.
 *
 * A thread reads an entry of the shadow, then the kernel's page table, then the entry again. If the
 * page is present in both entries, and no invalidation came in between, the kernel must have the
 * same page.
 *
 * munmap() removes the mapping first, then invalidates, then frees the pages. In between, there is
 * nothing to compare with: the shadow must have been invalidated by the time munmap() returns.
 */
static struct storm {
	int fd;
	int pagemap;
	char *memory;
	volatile int over;
	/* The number of operations so far. */
	volatile long happened;
	/*
	 * Results of the comparison: equal entries, absent entries, entries that changed, entries
	 * of mappings that are being removed, and wrong entries.
	 */
	long same, absent, changed, unmapped, wrong;
} storm;

/* Waits for the end of the current operation. Returns whether the page was invalidated since. */
static int heard_of(int index, uint64_t changes)
{
	long now = storm.happened;
	struct entry entry;

	while (storm.happened == now && !storm.over)
		usleep(100);
	return entry_of(storm.fd, index, &entry) == 0 && entry.changes != changes;
}

static void *compare_all_the_time(void *seed)
{
	unsigned int state = (uintptr_t)seed;

	while (!storm.over) {
		int index = next_random(&state) % STORM_PAGES;
		struct entry before, after;
		uint64_t page;

		if (entry_of(storm.fd, index, &before))
			return "an entry cannot be read";
		page = page_of(storm.pagemap, storm.memory + index * 4096);
		if (entry_of(storm.fd, index, &after))
			return "an entry cannot be read";
		if (before.changes != after.changes)
			__atomic_fetch_add(&storm.changed, 1, __ATOMIC_RELAXED);
		else if (!(before.page & PRESENT))
			__atomic_fetch_add(&storm.absent, 1, __ATOMIC_RELAXED);
		else if ((before.page & ~4095ULL) == page && before.page == after.page)
			__atomic_fetch_add(&storm.same, 1, __ATOMIC_RELAXED);
		else if (page == 0 && heard_of(index, before.changes))
			__atomic_fetch_add(&storm.unmapped, 1, __ATOMIC_RELAXED);
		else
			__atomic_fetch_add(&storm.wrong, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Returns the number of pages in a range that the shadow shows with this flag. */
static int shown(int first, int count, int flag)
{
	struct entry entries[STORM_PAGES];
	int i, found = 0;

	if (pread(storm.fd, entries, count * sizeof(*entries), first * sizeof(*entries)) !=
	    count * (ssize_t)sizeof(*entries))
		return -1;
	for (i = 0; i < count; i++)
		found += !!(entries[i].page & flag);
	return found;
}

/* Performs an operation, and checks the shadow for stale entries. Returns NULL, or the error. */
static const char *happens(int action, int first, int count, int file)
{
	char *start = storm.memory + first * 4096;
	size_t length = count * 4096UL;
	int i, status;
	pid_t child;

	switch (action) {
	case UNMAP:
		if (munmap(start, length))
			return "munmap";
		if (shown(first, count, PRESENT))
			return "an unmapped page is shown";
		break;
	case MOVE: {
		char *elsewhere = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		/* Fails if the range is not mapped completely. */
		if (mremap(start, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere) !=
			    MAP_FAILED &&
		    shown(first, count, PRESENT))
			return "a moved page is shown at its old address";
		munmap(elsewhere, length);
		break;
	}
	case DISCARD:
		/* No check: mapped pages of the file remain in the page cache. */
		madvise(start, length, MADV_DONTNEED);
		return NULL;
	case PROTECT:
		mprotect(start, length, PROT_READ);
		if (shown(first, count, WRITABLE))
			return "a read-only page is shown as writable";
		mprotect(start, length, PROT_READ | PROT_WRITE);
		return NULL;
	case FORK:
		child = fork();
		if (child == 0) {
			for (i = 0; i < count; i++)
				if (shown(first + i, 1, PRESENT) != -1)
					_exit(1);
			munmap(storm.memory, STORM_PAGES * 4096);
			_exit(0);
		}
		if (child < 0 || waitpid(child, &status, 0) != child || status)
			return "the shadow is shown to a child";
		return NULL;
	case RECLAIM:
		madvise(start, length, MADV_PAGEOUT);
		return NULL;
	case TRUNCATE:
		if (ftruncate(file, 0) || ftruncate(file, STORM_PAGES * 4096))
			return "ftruncate";
		return NULL;
	case REPLACE:
		if (mmap(start, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file,
			 first * 4096L) != start)
			return "mmap";
		break;
	case WRITE:
		break;
	case COLLAPSE:
		madvise(storm.memory, STORM_PAGES * 4096, MADV_COLLAPSE);
		return NULL;
	}
	/* Map the range again. */
	if (action == UNMAP || action == MOVE)
		if (mmap(start, length, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != start)
			return "mmap";
	for (i = 0; i < count; i++)
		start[i * 4096] = i;
	return NULL;
}

TEST_F_TIMEOUT(interval, storm, 3600)
{
	long seconds = storm_seconds("TETHER_SHADOW_SECONDS"), did[ACTIONS] = { };
	unsigned int seed = storm_seed(), state = seed, steps = 0;
	int file = memfd_create("storm", MFD_CLOEXEC), i, swap;
	pthread_t threads[2];
	time_t end = time(NULL) + seconds;
	const char *wrong = NULL;
	void *error;

	TH_LOG("%ld s, TETHER_SEED=%u", seconds, seed);
	ASSERT_EQ(0, ftruncate(file, STORM_PAGES * 4096));
	/* Without swap, nothing is reclaimed. */
	swap = system("mkswap /dev/ram1 >/dev/null && swapon /dev/ram1");
	ASSERT_EQ(0, swap);
	storm.fd = self->fd;
	storm.pagemap = self->pagemap;
	storm.memory = mmap(STORM_MEMORY, STORM_PAGES * 4096, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_FIXED, -1, 0);
	ASSERT_NE(MAP_FAILED, storm.memory);
	ASSERT_EQ(0, begin(self->fd, storm.memory, STORM_PAGES * 4096));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, compare_all_the_time,
					    (void *)(uintptr_t)(seed + i)));
	while (!wrong && (time(NULL) < end || steps < ACTIONS)) {
		int first = next_random(&state) % STORM_PAGES;
		int count = next_random(&state) % 16 + 1;
		/* Perform each operation once first, even on a slow machine. */
		int action = steps < ACTIONS ? steps : (int)(next_random(&state) % ACTIONS);

		if (count > STORM_PAGES - first)
			count = STORM_PAGES - first;
		steps++;
		did[action]++;
		wrong = happens(action, first, count, file);
		storm.happened++;
		/* Keep the pages mapped for a while. */
		if (next_random(&state) % 4 == 0)
			usleep(1000);
	}
	storm.over = 1;
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], &error));
		EXPECT_EQ(NULL, error) TH_LOG("%s", (char *)error);
	}
	ASSERT_EQ(0, system("swapoff /dev/ram1"));
	EXPECT_EQ(NULL, wrong) TH_LOG("%s", wrong);
	TH_LOG("%ld the same, %ld absent, %ld changed meanwhile, %ld being unmapped, %ld wrong",
	       storm.same, storm.absent, storm.changed, storm.unmapped, storm.wrong);
	EXPECT_EQ(0, storm.wrong);
	EXPECT_LT(seconds * 10, storm.same);
	for (i = 0; i < ACTIONS; i++) {
		TH_LOG("%ld times: %s", did[i], actions[i]);
		EXPECT_LT(0, did[i]);
	}
	close(file);
}

TEST_HARNESS_MAIN
