// SPDX-License-Identifier: GPL-2.0
/* The device /dev/mmwatch. Needs the modules tether and mmwatch. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "../samples/mmwatch.h"

#define PAGES 16

static void *volatile bad = (void *)8;
static uint64_t published __attribute__((aligned(8)));

static int watch(int fd, int pid, void *count)
{
	struct mmwatch_watch argument = { .pid = pid, .count_address = (uintptr_t)count };

	return ioctl(fd, MMWATCH_WATCH, &argument) ? -errno : 0;
}

static struct mmwatch_status status_of(int fd)
{
	struct mmwatch_status status;

	if (ioctl(fd, MMWATCH_STATUS, &status))
		_exit(99);
	return status;
}

static void *map(void)
{
	return mmap(NULL, PAGES * sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
}

FIXTURE(watch)
{
	int fd;
	size_t size;
	char *memory;
};

FIXTURE_SETUP(watch)
{
	self->fd = open("/dev/mmwatch", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->size = PAGES * sysconf(_SC_PAGESIZE);
	self->memory = map();
	ASSERT_NE(MAP_FAILED, self->memory);
}

FIXTURE_TEARDOWN(watch)
{
	close(self->fd);
}

/* Reads events until one of this kind for exactly this range arrives. Returns whether it does. */
static int find(int fd, unsigned int kind, void *start, size_t size, struct mmwatch_event *event)
{
	struct pollfd poll_ = { .fd = fd, .events = POLLIN };

	while (poll(&poll_, 1, 2000) == 1 && read(fd, event, sizeof(*event)) == sizeof(*event))
		if (event->kind == kind && event->start == (uintptr_t)start &&
		    event->end == (uintptr_t)start + size)
			return 1;
	return 0;
}

static int seen(int fd, unsigned int kind, void *start, size_t size)
{
	struct mmwatch_event event;

	return find(fd, kind, start, size, &event) ? event.tgid : 0;
}

/* The version can be read without a watch. */
TEST_F(watch, version)
{
	uint32_t version = 0;

	ASSERT_EQ(0, ioctl(self->fd, MMWATCH_VERSION, &version));
	EXPECT_EQ(MMWATCH_INTERFACE, version);
	EXPECT_EQ(-1, ioctl(self->fd, MMWATCH_VERSION, bad));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(watch, munmap)
{
	ASSERT_EQ(0, watch(self->fd, 0, NULL));
	ASSERT_EQ(0, munmap(self->memory, self->size));
	EXPECT_EQ(getpid(), seen(self->fd, MMWATCH_UNMAP, self->memory, self->size));
}

TEST_F(watch, mremap)
{
	void *elsewhere = map();

	ASSERT_EQ(0, watch(self->fd, 0, NULL));
	ASSERT_NE(MAP_FAILED, mremap(self->memory, self->size, self->size,
				     MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere));
	EXPECT_EQ(getpid(), seen(self->fd, MMWATCH_UNMAP, self->memory, self->size));
}

TEST_F(watch, madvise)
{
	ASSERT_EQ(0, watch(self->fd, 0, NULL));
	ASSERT_EQ(0, madvise(self->memory, self->size, MADV_DONTNEED));
	EXPECT_EQ(getpid(), seen(self->fd, MMWATCH_CLEAR, self->memory, self->size));
}

/* Events name the system call, the thread and the CPU; outside of a system call, they name none. */
TEST_F(watch, attributed)
{
	size_t page = sysconf(_SC_PAGESIZE);
	struct mmwatch_event event;
	int status;
	pid_t child;

	/* Fails on a kernel without huge pages, which is no problem. */
	madvise(self->memory, self->size, MADV_NOHUGEPAGE);
	ASSERT_EQ(0, watch(self->fd, 0, NULL));
	child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	/* This write copies a page that is shared with the child. */
	*self->memory = 1;
	ASSERT_TRUE(find(self->fd, MMWATCH_CLEAR, self->memory, page, &event));
	EXPECT_EQ(-1, event.syscall);
	kill(child, SIGKILL);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	ASSERT_EQ(0, madvise(self->memory, self->size, MADV_DONTNEED));
	ASSERT_TRUE(find(self->fd, MMWATCH_CLEAR, self->memory, self->size, &event));
	EXPECT_EQ(SYS_madvise, event.syscall);
	ASSERT_EQ(0, munmap(self->memory, self->size));
	ASSERT_TRUE(find(self->fd, MMWATCH_UNMAP, self->memory, self->size, &event));
	EXPECT_EQ(SYS_munmap, event.syscall);
	EXPECT_EQ(gettid(), event.pid);
	EXPECT_GT(sysconf(_SC_NPROCESSORS_CONF), event.cpu);
	EXPECT_LT(0, event.latency);
}

static int add_range(int fd, void *start, size_t length, uint64_t cookie)
{
	struct mmwatch_range range = { (uintptr_t)start, length, cookie };

	return ioctl(fd, MMWATCH_ADD_RANGE, &range) ? -errno : 0;
}

/* With ranges, changes outside of them are not reported, and events are clipped to the ranges. */
TEST_F(watch, ranges)
{
	struct mmwatch_watch argument = { .flags = MMWATCH_RANGES };
	size_t page = sysconf(_SC_PAGESIZE);
	struct mmwatch_event event;

	EXPECT_EQ(-EINVAL, add_range(self->fd, self->memory, page, 0));
	ASSERT_EQ(0, ioctl(self->fd, MMWATCH_WATCH, &argument));
	EXPECT_EQ(-EOVERFLOW, add_range(self->fd, self->memory, 0, 0));
	EXPECT_EQ(-EOVERFLOW, add_range(self->fd, (void *)-page, 2 * page, 0));
	EXPECT_EQ(-1, ioctl(self->fd, MMWATCH_ADD_RANGE, bad));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(0, add_range(self->fd, self->memory + 4 * page, 4 * page, 42));
	ASSERT_EQ(0, madvise(self->memory, 4 * page, MADV_DONTNEED));
	ASSERT_EQ(0, madvise(self->memory + 8 * page, page, MADV_DONTNEED));
	EXPECT_EQ(0, status_of(self->fd).count);
	ASSERT_EQ(0, madvise(self->memory, 6 * page, MADV_DONTNEED));
	ASSERT_TRUE(find(self->fd, MMWATCH_CLEAR, self->memory + 4 * page, 2 * page, &event));
	EXPECT_EQ(42, event.cookie);
	EXPECT_EQ(1, status_of(self->fd).count);
	EXPECT_EQ(2, status_of(self->fd).pages);
	/* A range that overlaps another one is reported as well. */
	ASSERT_EQ(0, add_range(self->fd, self->memory + 7 * page, 9 * page, 43));
	ASSERT_EQ(0, munmap(self->memory, self->size));
	EXPECT_EQ(3, status_of(self->fd).count);
	ASSERT_EQ(0, ioctl(self->fd, MMWATCH_UNWATCH));
	EXPECT_EQ(-EINVAL, add_range(self->fd, self->memory, page, 0));
	ASSERT_EQ(0, watch(self->fd, 0, NULL));
	EXPECT_EQ(-EINVAL, add_range(self->fd, self->memory, page, 0));
}

/* A removed range is not reported; its counter has changed, and its index can be reused. */
TEST_F(watch, counters)
{
	struct mmwatch_watch argument = { .flags = MMWATCH_RANGES };
	size_t page = sysconf(_SC_PAGESIZE);
	struct mmwatch_range range = { (uintptr_t)self->memory, page, 1 };
	volatile uint64_t *counters;
	struct mmwatch_event event;
	pid_t child;
	int status;

	EXPECT_EQ(MAP_FAILED, mmap(NULL, page, PROT_READ, MAP_SHARED, self->fd, 0));
	EXPECT_EQ(EINVAL, errno);
	ASSERT_EQ(0, ioctl(self->fd, MMWATCH_WATCH, &argument));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, page, PROT_READ, MAP_SHARED, self->fd, page));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, MMWATCH_MAX_RANGES * 8UL + page, PROT_READ, MAP_SHARED,
				   self->fd, 0));
	EXPECT_EQ(ENOSPC, errno);
	counters = mmap(NULL, page, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, counters);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 2 * page, PROT_READ, MAP_SHARED, self->fd, 0));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(-1, mprotect((void *)counters, page, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	/* A child does not inherit the counters, and cannot be made to inherit them. */
	EXPECT_EQ(-1, madvise((void *)counters, page, MADV_DOFORK));
	EXPECT_EQ(EINVAL, errno);
	child = fork();
	if (child == 0)
		_exit(msync((void *)counters, page, MS_ASYNC) == -1 && errno == ENOMEM ? 0 : 1);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);

	range.reserved = 1;
	EXPECT_EQ(-1, ioctl(self->fd, MMWATCH_ADD_RANGE, &range));
	EXPECT_EQ(EINVAL, errno);
	range.reserved = 0;
	ASSERT_EQ(0, ioctl(self->fd, MMWATCH_ADD_RANGE, &range));
	EXPECT_EQ(0, range.index);
	EXPECT_EQ(range.value, counters[0]);
	*self->memory = 1;
	EXPECT_EQ(range.value, counters[0]);
	ASSERT_EQ(0, madvise(self->memory, page, MADV_DONTNEED));
	EXPECT_EQ(range.value + 1, counters[0]);
	EXPECT_EQ(0, counters[1]);
	ASSERT_TRUE(find(self->fd, MMWATCH_CLEAR, self->memory, page, &event));
	EXPECT_EQ(1, event.cookie);

	EXPECT_EQ(-1, ioctl(self->fd, MMWATCH_REMOVE_RANGE, 1));
	EXPECT_EQ(ENOENT, errno);
	ASSERT_EQ(0, ioctl(self->fd, MMWATCH_REMOVE_RANGE, 0));
	EXPECT_EQ(range.value + 2, counters[0]);
	EXPECT_EQ(-1, ioctl(self->fd, MMWATCH_REMOVE_RANGE, 0));
	EXPECT_EQ(ENOENT, errno);
	ASSERT_EQ(0, madvise(self->memory, page, MADV_DONTNEED));
	EXPECT_EQ(range.value + 2, counters[0]);
	EXPECT_EQ(1, status_of(self->fd).count);

	/* If the result cannot be copied to the caller, the range is not added. */
	ASSERT_EQ(0, ioctl(self->fd, MMWATCH_ADD_RANGE, &range));
	EXPECT_EQ(0, range.index);
	EXPECT_EQ(2, range.value);
	struct mmwatch_range *constant = mmap(NULL, page, PROT_READ | PROT_WRITE,
					      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, constant);
	*constant = range;
	constant->reserved = 0;
	ASSERT_EQ(0, mprotect(constant, page, PROT_READ));
	EXPECT_EQ(-1, ioctl(self->fd, MMWATCH_ADD_RANGE, constant));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, ioctl(self->fd, MMWATCH_REMOVE_RANGE, 1));
	EXPECT_EQ(ENOENT, errno);

	/* The end of a watch changes all counters; a mapping of the counters stays valid. */
	EXPECT_EQ(2, counters[0]);
	ASSERT_EQ(0, ioctl(self->fd, MMWATCH_UNWATCH));
	EXPECT_EQ(3, counters[0]);
	EXPECT_EQ(-1, ioctl(self->fd, MMWATCH_REMOVE_RANGE, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, page, PROT_READ, MAP_SHARED, self->fd, 0));
	EXPECT_EQ(EINVAL, errno);
	/* After ranges were added without counters, counters cannot be mapped. */
	ASSERT_EQ(0, ioctl(self->fd, MMWATCH_WATCH, &argument));
	ASSERT_EQ(0, ioctl(self->fd, MMWATCH_ADD_RANGE, &range));
	EXPECT_EQ(0, range.value);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, page, PROT_READ, MAP_SHARED, self->fd, 0));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(3, counters[0]);
}

/* The maximum number of ranges, and one more. */
TEST_F(watch, many_ranges)
{
	struct mmwatch_watch argument = { .flags = MMWATCH_RANGES };
	char *start = (char *)(1UL << 44);
	int i;

	ASSERT_EQ(0, ioctl(self->fd, MMWATCH_WATCH, &argument));
	for (i = 0; i < MMWATCH_MAX_RANGES; i++)
		ASSERT_EQ(0, add_range(self->fd, start + i * 8192UL, 4096, i));
	EXPECT_EQ(-ENOSPC, add_range(self->fd, start, 4096, i));
	for (i = 0; i < 1000; i++) {
		char *page = start + i * 131 * 8192UL;
		struct mmwatch_event event;

		ASSERT_EQ(page, mmap(page, 8192, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
		ASSERT_EQ(0, munmap(page, 8192));
		ASSERT_TRUE(find(self->fd, MMWATCH_UNMAP, page, 4096, &event));
		EXPECT_EQ(i * 131, event.cookie);
	}
	EXPECT_EQ(1000, status_of(self->fd).count);
	ASSERT_EQ(0, ioctl(self->fd, MMWATCH_UNWATCH));
	/* After the end of the watch, the same number can be added again. */
	ASSERT_EQ(0, ioctl(self->fd, MMWATCH_WATCH, &argument));
	EXPECT_EQ(0, add_range(self->fd, start, 4096, 0));
}

TEST_F(watch, mprotect)
{
	ASSERT_EQ(0, watch(self->fd, 0, NULL));
	ASSERT_EQ(0, mprotect(self->memory, self->size, PROT_READ));
	EXPECT_EQ(getpid(), seen(self->fd, MMWATCH_PROTECTION_VMA, self->memory, self->size));
}

/* The published count is up to date when the system call returns. */
TEST_F(watch, published_count)
{
	uint64_t before, count;
	int round;

	ASSERT_EQ(0, watch(self->fd, 0, &published));
	for (round = 0; round < 200; round++) {
		before = *(volatile uint64_t *)&published;
		ASSERT_EQ(0, madvise(self->memory, self->size, MADV_DONTNEED));
		ASSERT_LT(before, *(volatile uint64_t *)&published);
		self->memory[0] = 1;
	}
	before = *(volatile uint64_t *)&published;
	count = status_of(self->fd).count;
	EXPECT_LE(200, before);
	/* Further invalidations may have happened in between. */
	EXPECT_LE(before, count);
	EXPECT_LE(count, *(volatile uint64_t *)&published);
}

TEST_F(watch, bad_input)
{
	struct mmwatch_watch argument = { .flags = 8 };
	struct mmwatch_event event;
	struct pollfd poll_ = { .fd = self->fd, .events = POLLIN };

	EXPECT_EQ(-1, ioctl(self->fd, _IO(0xB8, 99)));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(self->fd, MMWATCH_WATCH, bad));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, ioctl(self->fd, MMWATCH_WATCH, &argument));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-EINVAL, watch(self->fd, 0, (char *)&published + 1));
	EXPECT_EQ(-EFAULT, watch(self->fd, 0, bad));
	EXPECT_EQ(-ESRCH, watch(self->fd, 0x3fffff, NULL));
	EXPECT_EQ(-EPERM, watch(self->fd, 1, NULL));
	EXPECT_EQ(-EINVAL, watch(self->fd, 1, &published));
	/* No watch exists yet. */
	EXPECT_EQ(-1, read(self->fd, &event, sizeof(event)));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(self->fd, MMWATCH_UNWATCH));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(1, poll(&poll_, 1, 0));
	EXPECT_EQ(POLLERR, poll_.revents);

	ASSERT_EQ(0, watch(self->fd, 0, NULL));
	EXPECT_EQ(-EBUSY, watch(self->fd, 0, NULL));
	EXPECT_EQ(-1, read(self->fd, &event, sizeof(event) - 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(self->fd, MMWATCH_STATUS, bad));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(0, munmap(self->memory, self->size));
	ASSERT_EQ(1, poll(&poll_, 1, 2000));
	EXPECT_EQ(-1, read(self->fd, bad, sizeof(event)));
	EXPECT_EQ(EFAULT, errno);
	/* The event that could not be copied is not lost. */
	EXPECT_EQ(getpid(), seen(self->fd, MMWATCH_UNMAP, self->memory, self->size));
}

/* Makes the system call directly, without a function of the C library. */
static __attribute__((noinline)) long discard_here(void *memory, size_t size)
{
	long result;

#ifdef __x86_64__
	asm volatile("syscall" : "=a"(result)
		     : "0"(SYS_madvise), "D"(memory), "S"(size), "d"(MADV_DONTNEED)
		     : "rcx", "r11", "memory");
#else
	result = syscall(SYS_madvise, memory, size, MADV_DONTNEED);
#endif
	return result;
}

struct mmwatch_event_with_stack {
	struct mmwatch_event event;
	uint64_t stack[MMWATCH_STACK_DEPTH];
};

/* Events contain the instruction pointer of the thread, and its callers. */
TEST_F(watch, stacks)
{
	struct mmwatch_watch argument = { .flags = MMWATCH_STACKS };
	struct mmwatch_event_with_stack it = {};
	uintptr_t function = (uintptr_t)discard_here;
	int i, zero = 0;

	ASSERT_EQ(0, ioctl(self->fd, MMWATCH_WATCH, &argument));
	EXPECT_EQ(-1, read(self->fd, &it, sizeof(it) - 1));
	EXPECT_EQ(EINVAL, errno);
	ASSERT_EQ(0, discard_here(self->memory, self->size));
	do {
		ASSERT_EQ(sizeof(it), read(self->fd, &it, sizeof(it)));
	} while (it.event.start != (uintptr_t)self->memory);
	EXPECT_LT(function, it.stack[0]);
	EXPECT_GT(function + 128, it.stack[0]);
	for (i = 0; i < MMWATCH_STACK_DEPTH; i++) {
		if (!it.stack[i])
			zero = 1;
		/* No address follows the end, except that the second word may have any value. */
		else
			zero |= i != 1 && zero ? 2 : 0;
	}
	EXPECT_NE(3, zero);
	/* Without MMWATCH_STACKS, events contain no stack. */
	ASSERT_EQ(0, ioctl(self->fd, MMWATCH_UNWATCH));
	ASSERT_EQ(0, watch(self->fd, 0, NULL));
	ASSERT_EQ(0, discard_here(self->memory, self->size));
	EXPECT_EQ(sizeof(it.event), read(self->fd, &it, sizeof(it.event)));
}

struct worker {
	int cpu;
	char *memory;
	int times;
};

static void *discards(void *data)
{
	struct worker *worker = data;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(worker->cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	for (int i = 0; i < worker->times; i++)
		madvise(worker->memory, sysconf(_SC_PAGESIZE), MADV_DONTNEED);
	return NULL;
}

/* Concurrent events of all CPUs are reported exactly once. */
TEST_F(watch, several_cpus)
{
	/* The number of events that fit into the ring of a CPU. */
	enum { TIMES = 1500, ROUNDS = 4 };
	static unsigned char told[4 * TIMES * ROUNDS];
	uint64_t cpus = 0, count = 0, in_order = 0;
	pthread_t threads[2];
	struct mmwatch_event event;
	int i, round;

	ASSERT_EQ(0, watch(self->fd, 0, NULL));
	for (round = 0; round < ROUNDS; round++) {
		struct worker workers[2] = {
			{ 0, self->memory, TIMES },
			{ 1, self->memory + 8 * sysconf(_SC_PAGESIZE), TIMES },
		};
		uint64_t until;

		for (i = 0; i < 2; i++)
			ASSERT_EQ(0, pthread_create(&threads[i], NULL, discards, &workers[i]));
		for (i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		until = status_of(self->fd).count;
		ASSERT_LE(2 * TIMES, until - count);
		while (count < until) {
			ASSERT_EQ(sizeof(event), read(self->fd, &event, sizeof(event)));
			ASSERT_GT(sizeof(told), event.count);
			told[event.count]++;
			cpus |= 1UL << event.cpu;
			in_order += event.count == ++count;
		}
	}
	ASSERT_EQ(0, status_of(self->fd).dropped);
	for (uint64_t j = 1; j <= count; j++)
		ASSERT_EQ(1, told[j]);
	EXPECT_EQ(3, cpus & 3);
	EXPECT_LT(count / 2, in_order);
}

static void drain(int fd)
{
	struct mmwatch_event event;
	struct pollfd poll_ = { .fd = fd, .events = POLLIN };

	while (poll(&poll_, 1, 50) == 1 && read(fd, &event, sizeof(event)) > 0)
		;
}

TEST_F(watch, nonblocking)
{
	struct mmwatch_event event;

	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(0, watch(self->fd, 0, NULL));
	drain(self->fd);
	EXPECT_EQ(-1, read(self->fd, &event, sizeof(event)));
	EXPECT_EQ(EAGAIN, errno);
}

static void nothing(int signal)
{
}

TEST_F(watch, blocking_read_is_interrupted)
{
	struct sigaction action = { .sa_handler = nothing };
	struct mmwatch_event event;

	ASSERT_EQ(0, watch(self->fd, 0, NULL));
	sigaction(SIGALRM, &action, NULL);
	drain(self->fd);
	ualarm(200000, 200000);
	while (read(self->fd, &event, sizeof(event)) == sizeof(event))
		;
	EXPECT_EQ(EINTR, errno);
	ualarm(0, 0);
}

/* A watch can be started again after it was ended; changes in between are not reported. */
TEST_F(watch, unwatch)
{
	ASSERT_EQ(0, watch(self->fd, 0, &published));
	ASSERT_EQ(0, ioctl(self->fd, MMWATCH_UNWATCH));
	published = 0;
	ASSERT_EQ(0, madvise(self->memory, self->size, MADV_DONTNEED));
	EXPECT_EQ(0, published);
	ASSERT_EQ(0, watch(self->fd, 0, NULL));
	ASSERT_EQ(0, munmap(self->memory, self->size));
	EXPECT_EQ(getpid(), seen(self->fd, MMWATCH_UNMAP, self->memory, self->size));
}

static void *poll_for_an_end(void *fd)
{
	struct pollfd it = { .fd = (long)fd };

	return (void *)(long)(poll(&it, 1, 60000) == 1 ? it.revents : -1);
}

/* A thread that sleeps in poll() waits on a condition variable that must outlive the watch. */
TEST_F(watch, unwatched_while_polled)
{
	pthread_t thread;
	void *events;

	ASSERT_EQ(0, watch(self->fd, 0, NULL));
	ASSERT_EQ(0, pthread_create(&thread, NULL, poll_for_an_end, (void *)(long)self->fd));
	usleep(200000);
	ASSERT_EQ(0, ioctl(self->fd, MMWATCH_UNWATCH));
	pthread_join(thread, &events);
	EXPECT_TRUE((long)events & (POLLERR | POLLHUP));
}

TEST_F(watch, too_many)
{
	int fds[MMWATCH_MAX_WATCHES + 1], i;

	for (i = 0; i < MMWATCH_MAX_WATCHES; i++) {
		fds[i] = open("/dev/mmwatch", O_RDWR);
		ASSERT_LE(0, fds[i]);
		ASSERT_EQ(0, watch(fds[i], 0, NULL));
	}
	EXPECT_EQ(-ENOSPC, watch(self->fd, 0, NULL));
	close(fds[0]);
	EXPECT_EQ(0, watch(self->fd, 0, NULL));
	for (i = 1; i < MMWATCH_MAX_WATCHES; i++)
		close(fds[i]);
}

/* Uses another process's watch. Returns a bit for each call that does not fail with ESTALE. */
static int wrong_of_others(int fd)
{
	struct mmwatch_range range = { 4096, 4096 };
	struct mmwatch_status argument;
	struct mmwatch_event event;
	struct pollfd poll_ = { .fd = fd, .events = POLLIN };
	int wrong = 0;

	wrong |= ioctl(fd, MMWATCH_STATUS, &argument) != -1 || errno != ESTALE;
	wrong |= (read(fd, &event, sizeof(event)) != -1 || errno != ESTALE) << 1;
	wrong |= (ioctl(fd, MMWATCH_UNWATCH) != -1 || errno != ESTALE) << 2;
	wrong |= (watch(fd, 0, NULL) != -ESTALE) << 3;
	wrong |= (poll(&poll_, 1, 0) != 1 || poll_.revents != POLLERR) << 4;
	wrong |= (mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED || errno != ESTALE)
		 << 5;
	wrong |= (ioctl(fd, MMWATCH_ADD_RANGE, &range) != -1 || errno != ESTALE) << 6;
	wrong |= (ioctl(fd, MMWATCH_REMOVE_RANGE, 0) != -1 || errno != ESTALE) << 7;
	return wrong;
}

/*
 * A child that uses its parent's file gets ESTALE, for any user. A process that has executed
 * another program gets ESTALE as well.
 */
TEST_F(watch, forked_child)
{
	struct mmwatch_watch argument = { .flags = MMWATCH_RANGES };
	struct mmwatch_range range = { (uintptr_t)self->memory, self->size };
	int status, user;
	pid_t child;

	ASSERT_EQ(0, ioctl(self->fd, MMWATCH_WATCH, &argument));
	ASSERT_NE(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_SHARED, self->fd, 0));
	ASSERT_EQ(0, ioctl(self->fd, MMWATCH_ADD_RANGE, &range));
	for (user = 0; user < 2; user++) {
		child = fork();
		ASSERT_LE(0, child);
		if (child == 0) {
			if (user && (setgid(65534) || setuid(65534)))
				_exit(255);
			_exit(wrong_of_others(self->fd));
		}
		ASSERT_EQ(child, waitpid(child, &status, 0));
		EXPECT_EQ(0, status);
	}
	EXPECT_LT(0, status_of(self->fd).count);
}

TEST_F(watch, after_exec)
{
	int status;
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (child == 0) {
		char script[128];

		fcntl(self->fd, F_SETFD, 0);
		if (watch(self->fd, 0, &published))
			_exit(1);
		/* The read() by head must fail with "Stale file handle". */
		snprintf(script, sizeof(script),
			 "LC_ALL=C head -c 48 <&%d 2>&1 >/dev/null | grep -q Stale", self->fd);
		execl("/bin/sh", "sh", "-c", script, NULL);
		_exit(2);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
}

static pid_t stopped_tracee(void)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		char *memory = map();

		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		munmap(memory, PAGES * sysconf(_SC_PAGESIZE));
		_exit(0);
	}
	waitpid(child, &status, 0);
	return child;
}

/*
 * A tracer may start a watch of its tracee while the tracee is stopped. When the tracee ends, the
 * watcher reads the event "release", and then the end of the file.
 */
TEST_F(watch, tracee)
{
	struct mmwatch_event event = {};
	unsigned int unmapped = 0, released = 0;
	ssize_t size;
	int status;
	pid_t child = stopped_tracee();

	ASSERT_EQ(0, watch(self->fd, child, NULL));
	ASSERT_EQ(0, ptrace(PTRACE_CONT, child, 0, 0));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	while ((size = read(self->fd, &event, sizeof(event))) == sizeof(event)) {
		unmapped += event.kind == MMWATCH_UNMAP && event.tgid == child;
		released += event.kind == MMWATCH_RELEASE;
	}
	EXPECT_EQ(0, size);
	EXPECT_LT(0, unmapped);
	EXPECT_EQ(1, released);
	EXPECT_EQ(1, status_of(self->fd).ended);
}

TEST_F(watch, not_a_tracee)
{
	int status;
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (child == 0) {
		pause();
		_exit(0);
	}
	EXPECT_EQ(-EPERM, watch(self->fd, child, NULL));
	kill(child, SIGKILL);
	waitpid(child, &status, 0);

	/* A tracee that is not stopped. */
	child = stopped_tracee();
	ASSERT_EQ(0, ptrace(PTRACE_CONT, child, 0, 0));
	usleep(100000);
	EXPECT_NE(0, watch(self->fd, child, NULL));
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
}

/* Watches, as an ordinary user, a tracee that has just executed @program. */
static int watch_as_nobody(int fd, const char *program)
{
	int status, result;
	pid_t child;

	if (setgid(65534) || setuid(65534))
		return -1000;
	child = fork();
	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execl(program, program, NULL);
		_exit(3);
	}
	waitpid(child, &status, 0);
	if (!WIFSTOPPED(status))
		return -1001;
	result = watch(fd, child, NULL);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	return result;
}

/* A program that its user cannot read is not dumpable: a watch needs CAP_SYS_PTRACE. */
TEST_F(watch, not_dumpable)
{
	int status;
	pid_t watcher = fork();

	ASSERT_LE(0, watcher);
	if (watcher == 0)
		_exit(watch_as_nobody(self->fd, "/bin/true") == 0 ? 0 : 1);
	ASSERT_EQ(watcher, waitpid(watcher, &status, 0));
	EXPECT_EQ(0, status);

	watcher = fork();
	ASSERT_LE(0, watcher);
	if (watcher == 0) {
		int fd = open("/dev/mmwatch", O_RDWR);

		_exit(watch_as_nobody(fd, getenv("TETHER_UNREADABLE")) == -EPERM ? 0 : 1);
	}
	ASSERT_EQ(watcher, waitpid(watcher, &status, 0));
	EXPECT_EQ(0, status);
}

/* Returns a stopped tracee that sets its dumpable flag and discards the memory when continued. */
static pid_t discarding_tracee(char *memory, size_t size, int dumpable)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		prctl(PR_SET_DUMPABLE, dumpable);
		discard_here(memory, size);
		_exit(0);
	}
	waitpid(child, &status, 0);
	return WIFSTOPPED(status) ? child : -1;
}

/* If a process makes itself undumpable, later events contain no stacks. */
TEST_F(watch, no_longer_dumpable)
{
	int dumpable, status;

	for (dumpable = 0; dumpable < 2; dumpable++) {
		struct mmwatch_event_with_stack it = {};
		pid_t child = discarding_tracee(self->memory, self->size, dumpable);
		struct mmwatch_watch argument = { .pid = child, .flags = MMWATCH_STACKS };
		int seen = 0, stacks = 0;

		ASSERT_LT(0, child);
		ASSERT_EQ(0, ioctl(self->fd, MMWATCH_WATCH, &argument));
		ASSERT_EQ(0, ptrace(PTRACE_DETACH, child, 0, 0));
		while (read(self->fd, &it, sizeof(it)) == sizeof(it)) {
			if (it.event.start != (uintptr_t)self->memory ||
			    it.event.kind == MMWATCH_RELEASE)
				continue;
			seen++;
			stacks += it.stack[0] != 0;
		}
		ASSERT_EQ(child, waitpid(child, &status, 0));
		EXPECT_LT(0, seen);
		EXPECT_EQ(dumpable ? seen : 0, stacks);
		ASSERT_EQ(0, ioctl(self->fd, MMWATCH_UNWATCH));
	}
}

/* In a pid namespace, events contain the pids of that namespace. */
TEST_F(watch, pid_namespace)
{
	int status;
	pid_t init;

	if (unshare(CLONE_NEWPID))
		SKIP(return, "no pid namespaces");
	init = fork();
	if (init == 0) {
		int fd = open("/dev/mmwatch", O_RDWR);
		struct mmwatch_event event = {};

		if (watch(fd, 0, NULL))
			_exit(2);
		madvise(self->memory, self->size, MADV_DONTNEED);
		if (read(fd, &event, sizeof(event)) != sizeof(event))
			_exit(3);
		_exit(event.pid == 1 && event.tgid == 1 && getpid() == 1 ? 0 : 4);
	}
	ASSERT_EQ(init, waitpid(init, &status, 0));
	EXPECT_EQ(0, status);
}

/* Returns a stopped tracee of the user @user that has just executed @program with two arguments. */
static pid_t executed_tracee(int user, const char *program, const char *one, const char *two)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		if (setgid(user) || setuid(user))
			_exit(4);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execl(program, program, one, two, NULL);
		_exit(3);
	}
	waitpid(child, &status, 0);
	return WIFSTOPPED(status) ? child : -1;
}

/* Follows @child and detaches from it. Returns the number of executed programs, or -errno. */
static int follow(int fd, pid_t child, int *executed, int *unmapped)
{
	struct mmwatch_watch argument = { .pid = child, .flags = MMWATCH_FOLLOW };
	struct mmwatch_event event;
	int programs = 0, status, result = 0, released = 0;

	*executed = *unmapped = 0;
	if (ioctl(fd, MMWATCH_WATCH, &argument))
		return -errno;
	if (ptrace(PTRACE_DETACH, child, 0, 0))
		return -1000;
	while (read(fd, &event, sizeof(event)) == sizeof(event)) {
		if (event.kind == MMWATCH_RELEASE) {
			released++;
			*executed += !!(event.flags & MMWATCH_EXECUTED);
		} else if (event.kind == MMWATCH_EXEC) {
			programs++;
			if (event.tgid != child || released != programs)
				return -1001;
		} else if (event.kind == MMWATCH_NOT_FOLLOWED) {
			result = -(int)event.start;
		} else if (event.kind == MMWATCH_UNMAP && programs) {
			++*unmapped;
		}
	}
	if (waitpid(child, &status, 0) != child || status)
		return -1002;
	if (!status_of(fd).ended)
		return -1003;
	ioctl(fd, MMWATCH_UNWATCH);
	return result ?: programs;
}

#define CHAIN "exec sh -c 'exec sh -c \"exec true\"'"

/* The device follows a process through execve() without a tracer. */
TEST_F(watch, follow)
{
	struct mmwatch_watch argument = { .flags = MMWATCH_FOLLOW };
	int executed, unmapped;

	EXPECT_EQ(-1, ioctl(self->fd, MMWATCH_WATCH, &argument));
	EXPECT_EQ(EINVAL, errno);
	argument.pid = 1;
	argument.flags |= MMWATCH_RANGES;
	EXPECT_EQ(-1, ioctl(self->fd, MMWATCH_WATCH, &argument));
	EXPECT_EQ(EINVAL, errno);

	EXPECT_EQ(3, follow(self->fd, executed_tracee(0, "/bin/sh", "-c", CHAIN), &executed,
			    &unmapped));
	EXPECT_EQ(3, executed);
	/* The dynamic loader of a program unmaps memory. */
	EXPECT_LT(0, unmapped);
	EXPECT_EQ(3, follow(self->fd, executed_tracee(65534, "/bin/sh", "-c", CHAIN), &executed,
			    &unmapped));
	/* Without MMWATCH_FOLLOW, the watch does not follow. */
	EXPECT_EQ(0, watch(self->fd, executed_tracee(0, "/bin/sh", "-c", CHAIN), NULL));
}

/* The device does not follow into a program that the watcher may not inspect. */
TEST_F(watch, follow_not_permitted)
{
	const char *setuid_true = getenv("TETHER_SETUID");
	int executed, unmapped;
	char script[256];

	/* A setuid program. */
	snprintf(script, sizeof(script), "exec %s", setuid_true);
	EXPECT_EQ(-EPERM, follow(self->fd, executed_tracee(65534, "/bin/sh", "-c", script),
				 &executed, &unmapped));
	EXPECT_EQ(1, executed);
	EXPECT_EQ(0, unmapped);
	/* A setuid program, executed by root. */
	EXPECT_EQ(1, follow(self->fd, executed_tracee(0, "/bin/sh", "-c", script),
			    &executed, &unmapped));
	/* A program that its user cannot read. */
	snprintf(script, sizeof(script), "exec %s", getenv("TETHER_UNREADABLE"));
	EXPECT_EQ(-EPERM, follow(self->fd, executed_tracee(65534, "/bin/sh", "-c", script),
				 &executed, &unmapped));
	EXPECT_EQ(0, unmapped);
}

/* Watches start and end while the followed processes execute programs. */
TEST_F(watch, follow_storm)
{
	struct mmwatch_watch argument = { .flags = MMWATCH_FOLLOW };
	int i, status;
	pid_t child;

	child = executed_tracee(0, "/bin/sh", "-c",
				"exec sh -c 'i=0; while [ $i -lt 60 ]; do i=$((i+1)); "
				"(exec sh -c \"exec true\"); done'");
	ASSERT_LT(0, child);
	argument.pid = child;
	ASSERT_EQ(0, ioctl(self->fd, MMWATCH_WATCH, &argument));
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, child, 0, 0));
	for (i = 0; i < 40; i++) {
		int fd = open("/dev/mmwatch", O_RDWR);
		pid_t other = executed_tracee(0, "/bin/sh", "-c", CHAIN);

		ASSERT_LT(0, other);
		argument.pid = other;
		ASSERT_EQ(0, ioctl(fd, MMWATCH_WATCH, &argument));
		ASSERT_EQ(0, ptrace(PTRACE_DETACH, other, 0, 0));
		usleep(1000 * (i % 20));
		close(fd);
		ASSERT_EQ(other, waitpid(other, &status, 0));
		EXPECT_EQ(0, status);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
}

/* Without a reader, events are dropped; the count is exact, and the status counts the drops. */
TEST_F(watch, overflow)
{
	struct mmwatch_event events[256];
	struct mmwatch_status status;
	uint64_t read_ = 0, dropped = 0;
	struct pollfd poll_ = { .fd = self->fd, .events = POLLIN };
	ssize_t size;
	int i;

	ASSERT_EQ(0, watch(self->fd, 0, NULL));
	for (i = 0; i < MMWATCH_MAX_EVENTS + 20000; i++)
		madvise(self->memory, self->size, MADV_DONTNEED);
	usleep(100000);
	status = status_of(self->fd);
	EXPECT_LE(MMWATCH_MAX_EVENTS + 20000, status.count);
	EXPECT_LE(20000, status.dropped);
	while (read_ + dropped < status.count && poll(&poll_, 1, 1000) == 1) {
		size = read(self->fd, events, sizeof(events));
		ASSERT_LT(0, size);
		for (i = 0; i < size / (ssize_t)sizeof(*events); i++) {
			if (events[i].kind == MMWATCH_DROPPED)
				dropped += events[i].start;
			else
				read_++;
		}
	}
	EXPECT_LE(status.count, read_ + dropped);
	EXPECT_LE(status.dropped, dropped);
}

#define CGROUP "/tmp/cgroup-mmwatch"

static long read_number(const char *path)
{
	char text[32] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	read(fd, text, sizeof(text) - 1);
	close(fd);
	return atol(text);
}

/* Memory that the device allocates is charged to the caller: a watch, ranges, counters. */
TEST_F(watch, charged)
{
	struct mmwatch_watch argument = { .flags = MMWATCH_RANGES };
	long before, with_watch, with_counters, with_ranges;
	int status, i;
	pid_t child;

	ASSERT_EQ(0, system("mkdir -p " CGROUP " && mount -t cgroup2 none " CGROUP
			    " && echo +memory >" CGROUP
			    "/cgroup.subtree_control && mkdir -p " CGROUP "/small"));
	child = fork();
	if (child == 0) {
		int fd = open("/dev/mmwatch", O_RDWR | O_CLOEXEC);

		if (write_file(CGROUP "/small/cgroup.procs", "0"))
			_exit(1);
		before = read_number(CGROUP "/small/memory.current");
		if (ioctl(fd, MMWATCH_WATCH, &argument))
			_exit(2);
		with_watch = read_number(CGROUP "/small/memory.current");
		if (mmap(NULL, 1 << 20, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED)
			_exit(3);
		with_counters = read_number(CGROUP "/small/memory.current");
		for (i = 0; i < 10000; i++)
			if (add_range(fd, (char *)(1UL << 44) + i * 8192UL, 4096, i))
				_exit(4);
		with_ranges = read_number(CGROUP "/small/memory.current");
		if (with_watch - before < 2 << 20)
			_exit(5);
		if (with_counters - with_watch < 1 << 20)
			_exit(6);
		if (with_ranges - with_counters < 10000 * 150)
			_exit(7);
		/* If the limit of the cgroup is too low, the allocation fails. */
		if (write_file(CGROUP "/small/memory.max", "16M"))
			_exit(8);
		for (i = 0; i < MMWATCH_MAX_WATCHES; i++) {
			fd = open("/dev/mmwatch", O_RDWR | O_CLOEXEC);
			if (watch(fd, 0, NULL) == -ENOMEM)
				_exit(0);
		}
		_exit(9);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	/* The OOM killer of the cgroup may kill the child first. */
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		EXPECT_EQ(0, status);
	/* The watches of the dead process can be used again. */
	EXPECT_EQ(0, watch(self->fd, 0, NULL));
	system("rmdir " CGROUP "/small; umount " CGROUP);
}

struct hammer {
	volatile int stop;
	uint64_t rounds;
};

static void *hammers(void *data)
{
	struct hammer *hammer = data;
	size_t size = PAGES * sysconf(_SC_PAGESIZE);

	while (!hammer->stop) {
		munmap(map(), size);
		hammer->rounds++;
	}
	return NULL;
}

/* A watch starts and ends while two threads map and unmap memory. */
TEST_F(watch, storm)
{
	struct hammer hammer[2] = {};
	pthread_t threads[2];
	int i;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, hammers, &hammer[i]));
	for (i = 0; i < 30; i++) {
		ASSERT_EQ(0, watch(self->fd, 0, i % 2 ? &published : NULL));
		usleep(1000 * (i % 5));
		ASSERT_EQ(0, ioctl(self->fd, MMWATCH_UNWATCH));
	}
	for (i = 0; i < 2; i++) {
		hammer[i].stop = 1;
		pthread_join(threads[i], NULL);
		EXPECT_LT(0, hammer[i].rounds);
	}
}

TEST_HARNESS_MAIN
