// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of tools/libmmwatch/include/mmwatch_ranges.h, which detects changes of ranges. Needs the
 * modules tether and mmwatch.
 */

#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "harness.h"
#include "mmwatch_ranges.h"

#define MAX	512	/* the number of counters on a page */
#define PAGES	16

/* The range that the tests use: a part of the mapping. */
#define FROM	4
#define COUNT	8

static size_t page;

static char *map(size_t pages)
{
	char *memory = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);

	if (memory == MAP_FAILED)
		_exit(99);
	/* Without huge pages: splitting a huge page would change all of its ranges. */
	madvise(memory, pages * page, MADV_NOHUGEPAGE);
	memset(memory, 1, pages * page);
	return memory;
}

static struct mmwatch_status status_of(int fd)
{
	struct mmwatch_status status;

	if (ioctl(fd, MMWATCH_STATUS, &status))
		_exit(98);
	return status;
}

/* Returns the exit code of a child, or 1000. */
static int wait_for(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
		return 1000;
	return WEXITSTATUS(status);
}

FIXTURE(ranges)
{
	struct mmwatch_ranges ranges;
	struct mmwatch_range range;
	char *memory;		/* PAGES pages */
	char *start;		/* of the range */
	size_t size;
};

FIXTURE_SETUP(ranges)
{
	page = sysconf(_SC_PAGESIZE);
	self->memory = map(PAGES);
	self->start = self->memory + FROM * page;
	self->size = COUNT * page;
	ASSERT_EQ(0, mmwatch_ranges_open(&self->ranges, MAX));
	ASSERT_EQ(0, mmwatch_range_add(&self->ranges, self->start, self->size, 42, &self->range));
}

FIXTURE_TEARDOWN(ranges)
{
	mmwatch_ranges_close(&self->ranges);
}

#define CHANGED() mmwatch_range_changed(&self->ranges, &self->range)

TEST_F(ranges, unchanged)
{
	int i;

	for (i = 0; i < 1000; i++) {
		memset(self->memory, i, PAGES * page);
		ASSERT_FALSE(CHANGED());
	}
	/* Change the memory next to the range. */
	ASSERT_EQ(0, munmap(self->memory, FROM * page));
	ASSERT_EQ(0, madvise(self->start + self->size, page, MADV_DONTNEED));
	ASSERT_EQ(0, mprotect(self->start + self->size, page, PROT_NONE));
	EXPECT_FALSE(CHANGED());
	EXPECT_EQ(0, status_of(self->ranges.fd).count);
}

/* A change of the last page suffices. */
TEST_F(ranges, munmap)
{
	ASSERT_EQ(0, munmap(self->start + self->size - page, page));
	EXPECT_TRUE(CHANGED());
}

/* The event contains the cookie of the changed range. */
TEST_F(ranges, event)
{
	struct pollfd poll_ = { .fd = self->ranges.fd, .events = POLLIN };
	struct mmwatch_event event;

	ASSERT_EQ(0, munmap(self->memory, PAGES * page));
	ASSERT_EQ(1, poll(&poll_, 1, 2000));
	ASSERT_EQ(sizeof(event), read(self->ranges.fd, &event, sizeof(event)));
	EXPECT_EQ(MMWATCH_UNMAP, event.kind);
	EXPECT_EQ((uintptr_t)self->start, event.start);
	EXPECT_EQ((uintptr_t)self->start + self->size, event.end);
	EXPECT_EQ(42, event.cookie);
}

TEST_F(ranges, moved_away)
{
	void *elsewhere = map(PAGES);

	ASSERT_EQ(elsewhere, mremap(self->start, self->size, self->size,
				    MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere));
	EXPECT_TRUE(CHANGED());
}

TEST_F(ranges, moved_over)
{
	void *other = map(COUNT);

	ASSERT_EQ(self->start, mremap(other, self->size, self->size,
				      MREMAP_MAYMOVE | MREMAP_FIXED, self->start));
	EXPECT_TRUE(CHANGED());
}

TEST_F(ranges, madvise)
{
	ASSERT_EQ(0, madvise(self->start, page, MADV_DONTNEED));
	EXPECT_TRUE(CHANGED());
}

TEST_F(ranges, mprotect)
{
	ASSERT_EQ(0, mprotect(self->start, page, PROT_READ));
	EXPECT_TRUE(CHANGED());
}

TEST_F(ranges, mapped_over)
{
	ASSERT_EQ(self->start, mmap(self->start, page, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	EXPECT_TRUE(CHANGED());
}

/* A range stays changed, even if its memory is restored. */
TEST_F(ranges, changed_for_good)
{
	struct mmwatch_range again;

	ASSERT_EQ(0, mprotect(self->start, page, PROT_READ));
	ASSERT_EQ(0, mprotect(self->start, page, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, mmwatch_range_add(&self->ranges, self->start, self->size, 0, &again));
	EXPECT_TRUE(CHANGED());
	EXPECT_FALSE(mmwatch_range_changed(&self->ranges, &again));
}

/* Each range has its own counter; a change of common memory changes all ranges that contain it. */
TEST_F(ranges, several)
{
	struct mmwatch_range first, second, third;

	ASSERT_EQ(0, mmwatch_range_add(&self->ranges, self->memory, page, 1, &first));
	ASSERT_EQ(0, mmwatch_range_add(&self->ranges, self->memory, 2 * page, 2, &second));
	ASSERT_EQ(0, mmwatch_range_add(&self->ranges, self->memory + page, page, 3, &third));
	ASSERT_EQ(0, madvise(self->memory + page, page, MADV_DONTNEED));
	EXPECT_FALSE(mmwatch_range_changed(&self->ranges, &first));
	EXPECT_TRUE(mmwatch_range_changed(&self->ranges, &second));
	EXPECT_TRUE(mmwatch_range_changed(&self->ranges, &third));
	EXPECT_FALSE(CHANGED());
}

/* fork() makes inherited pages read-only, which is a change; MADV_DONTFORK prevents this. */
TEST_F(ranges, fork)
{
	struct mmwatch_range not_forked;
	char *memory = map(PAGES);
	pid_t child;

	ASSERT_EQ(0, madvise(memory, PAGES * page, MADV_DONTFORK));
	ASSERT_EQ(0, mmwatch_range_add(&self->ranges, memory, PAGES * page, 0, &not_forked));
	ASSERT_FALSE(CHANGED());
	child = fork();
	if (child == 0)
		_exit(0);
	ASSERT_EQ(0, wait_for(child));
	EXPECT_TRUE(CHANGED());
	EXPECT_FALSE(mmwatch_range_changed(&self->ranges, &not_forked));
}

/*
 * A child has another address space: all ranges are changed there, and changes by the child do not
 * affect the parent.
 */
TEST_F(ranges, child)
{
	struct mmwatch_range shared, not_forked;
	char *memory = map(PAGES);
	void *file = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child;

	ASSERT_NE(MAP_FAILED, file);
	ASSERT_EQ(0, madvise(memory, PAGES * page, MADV_DONTFORK));
	ASSERT_EQ(0, mmwatch_range_add(&self->ranges, memory, page, 0, &not_forked));
	/* The fork does not change the parent's shared mapping. */
	ASSERT_EQ(0, mmwatch_range_add(&self->ranges, file, page, 0, &shared));
	child = fork();
	if (child == 0) {
		unsigned char resident;
		struct mmwatch_range added;
		int wrong;

		wrong = !CHANGED();
		wrong |= !mmwatch_range_changed(&self->ranges, &shared) << 1;
		wrong |= !mmwatch_range_changed(&self->ranges, &not_forked) << 2;
		/* The counters are not mapped in the child. */
		wrong |= (mincore((void *)self->ranges.counters, page, &resident) != -1 ||
			  errno != ENOMEM)
			 << 3;
		wrong |= (mmwatch_range_add(&self->ranges, file, page, 0, &added) != -ESTALE) << 4;
		wrong |= (mmwatch_range_remove(&self->ranges, &shared) != -ESTALE) << 5;
		munmap(file, page);
		munmap(self->memory, PAGES * page);
		mmwatch_ranges_close(&self->ranges);
		_exit(wrong);
	}
	ASSERT_EQ(0, wait_for(child));
	EXPECT_FALSE(mmwatch_range_changed(&self->ranges, &shared));
	EXPECT_FALSE(mmwatch_range_changed(&self->ranges, &not_forked));
	/* The ranges of the parent are still watched. */
	ASSERT_EQ(0, munmap(file, page));
	EXPECT_TRUE(mmwatch_range_changed(&self->ranges, &shared));
}

/*
 * When a child closes the ranges of its parent, the child's own mapping at the address of the
 * counters is not unmapped.
 */
TEST_F(ranges, child_closes)
{
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (child == 0) {
		char *here = mmap((void *)self->ranges.counters, page, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		unsigned char resident;

		if (here != (char *)self->ranges.counters)
			_exit(1);
		mmwatch_ranges_close(&self->ranges);
		_exit(mincore(here, page, &resident) ? 2 : 0);
	}
	EXPECT_EQ(0, wait_for(child));
}

/* Adds some ranges. Returns 0, or the error. */
static int add_some(struct mmwatch_ranges *ranges)
{
	char *start = (char *)(1UL << 44);
	struct mmwatch_range range;
	int i, ret = mmwatch_ranges_open(ranges, MAX);

	for (i = 0; !ret && i < 100; i++)
		ret = mmwatch_range_add(ranges, start + i * 2 * page, page, i, &range);
	return ret;
}

/*
 * A process with ranges exits, or executes another program that inherits the file. Only one watch
 * is left, so that a leaked watch is noticed.
 */
TEST_F(ranges, exit_and_exec)
{
	struct mmwatch_ranges others[MMWATCH_MAX_WATCHES - 2], ranges, one_more;
	int i;

	for (i = 0; i < MMWATCH_MAX_WATCHES - 2; i++)
		ASSERT_EQ(0, mmwatch_ranges_open(&others[i], 1));
	for (i = 0; i < 6; i++) {
		pid_t child = fork();

		ASSERT_LE(0, child);
		if (child == 0) {
			if (add_some(&ranges))
				_exit(1);
			if (i & 1)
				_exit(0);
			fcntl(ranges.fd, F_SETFD, 0);
			execl("/bin/true", "true", NULL);
			_exit(2);
		}
		ASSERT_EQ(0, wait_for(child));
	}
	ASSERT_EQ(0, add_some(&ranges));
	EXPECT_EQ(-ENOSPC, mmwatch_ranges_open(&one_more, 1));
	mmwatch_ranges_close(&ranges);
	for (i = 0; i < MMWATCH_MAX_WATCHES - 2; i++)
		mmwatch_ranges_close(&others[i]);
}

#define MILLION		1000000
#define AT_ONCE		250

/* Returns whether NUMA balancing is on: the kernel then invalidates pages to find their users. */
static int numa_balancing(void)
{
	FILE *file = fopen("/proc/sys/kernel/numa_balancing", "r");
	int on = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%d", &on) != 1)
		on = 0;
	fclose(file);
	return on;
}

/* Without a reader, most events are dropped; the count is exact, and the counters change. */
TEST_F(ranges, overflow)
{
	struct mmwatch_range range[AT_ONCE];
	char *memory = map(AT_ONCE);
	struct mmwatch_status status;
	uint64_t before[AT_ONCE];
	int i;

	for (i = 0; i < AT_ONCE; i++)
		ASSERT_EQ(0,
			  mmwatch_range_add(&self->ranges, memory + i * page, page, i, &range[i]));
	for (i = 0; i < MILLION / AT_ONCE - 1; i++)
		ASSERT_EQ(0, madvise(memory, AT_ONCE * page, MADV_DONTNEED));
	/* The last change is seen like the first one. */
	for (i = 0; i < AT_ONCE; i++) {
		EXPECT_TRUE(mmwatch_range_changed(&self->ranges, &range[i]));
		before[i] = self->ranges.counters[range[i].index];
	}
	ASSERT_EQ(0, madvise(memory, AT_ONCE * page, MADV_DONTNEED));
	for (i = 0; i < AT_ONCE; i++)
		EXPECT_LT(before[i], __atomic_load_n(&self->ranges.counters[range[i].index],
						     __ATOMIC_ACQUIRE));
	status = status_of(self->ranges.fd);
	/* NUMA balancing also invalidates ranges that the process does not change. */
	if (numa_balancing()) {
		EXPECT_LE(MILLION, status.count);
		EXPECT_LE(MILLION, status.pages);
	} else {
		EXPECT_EQ(MILLION, status.count);
		EXPECT_EQ(MILLION, status.pages);
		EXPECT_FALSE(CHANGED());
	}
	EXPECT_LE(MILLION - 10 * MMWATCH_MAX_EVENTS, status.dropped);
}

/*
 * The index of a removed range is reused. A holder of the old range does not see the new range in
 * its place.
 */
TEST_F(ranges, index_again)
{
	struct mmwatch_range old = self->range, new;
	int i, again = 0;

	for (i = 0; i < 1000; i++) {
		ASSERT_EQ(0, mmwatch_range_remove(&self->ranges, &old));
		EXPECT_TRUE(mmwatch_range_changed(&self->ranges, &old));
		ASSERT_EQ(0, mmwatch_range_add(&self->ranges, self->start, self->size, i, &new));
		EXPECT_FALSE(mmwatch_range_changed(&self->ranges, &new));
		EXPECT_TRUE(mmwatch_range_changed(&self->ranges, &old));
		EXPECT_TRUE(CHANGED());
		again += new.index == old.index;
		old = new;
	}
	EXPECT_LT(0, again);
}

TEST_F(ranges, more_than_counters)
{
	struct mmwatch_range range;
	int i;

	for (i = 1; i < MAX; i++)
		ASSERT_EQ(0, mmwatch_range_add(&self->ranges, self->start, page, i, &range));
	EXPECT_EQ(-ENOSPC, mmwatch_range_add(&self->ranges, self->start, page, i, &range));
	/* Removing a range makes room for another one. */
	ASSERT_EQ(0, mmwatch_range_remove(&self->ranges, &self->range));
	ASSERT_EQ(0, mmwatch_range_add(&self->ranges, self->start, page, i, &range));
	EXPECT_EQ(self->range.index, range.index);
	EXPECT_EQ(-ENOSPC, mmwatch_range_add(&self->ranges, self->start, page, i, &range));
}

TEST_F(ranges, remove_unknown)
{
	struct mmwatch_range unknown = self->range;

	unknown.index = self->range.index + 1;
	EXPECT_EQ(-ENOENT, mmwatch_range_remove(&self->ranges, &unknown));
	unknown.index = UINT32_MAX;
	EXPECT_EQ(-ENOENT, mmwatch_range_remove(&self->ranges, &unknown));
	EXPECT_FALSE(CHANGED());
	EXPECT_EQ(0, mmwatch_range_remove(&self->ranges, &self->range));
	EXPECT_EQ(-ENOENT, mmwatch_range_remove(&self->ranges, &self->range));
}

TEST_F(ranges, bad_ranges)
{
	struct mmwatch_range range = { .start = (uintptr_t)self->start,
				       .length = page,
				       .reserved = 1 };

	EXPECT_EQ(-1, ioctl(self->ranges.fd, MMWATCH_ADD_RANGE, &range));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-EOVERFLOW, mmwatch_range_add(&self->ranges, self->start, 0, 0, &range));
	EXPECT_EQ(-EOVERFLOW, mmwatch_range_add(&self->ranges, (void *)-page, 2 * page, 0, &range));
}

/* If the result cannot be copied to the caller, the range is not added. */
TEST_F(ranges, result_cannot_be_written)
{
	struct mmwatch_range *argument = (void *)map(1), range;

	*argument = (struct mmwatch_range) { .start = (uintptr_t)self->start, .length = page };
	ASSERT_EQ(0, mprotect(argument, page, PROT_READ));
	EXPECT_EQ(-1, ioctl(self->ranges.fd, MMWATCH_ADD_RANGE, argument));
	EXPECT_EQ(EFAULT, errno);
	range.index = self->range.index + 1;
	EXPECT_EQ(-ENOENT, mmwatch_range_remove(&self->ranges, &range));
}

static void *map_counters(int fd, size_t size, int protection, off_t offset)
{
	return mmap(NULL, size, protection, MAP_SHARED, fd, offset);
}

TEST(mapping)
{
	struct mmwatch_watch watch = { .flags = MMWATCH_RANGES };
	struct mmwatch_range range = { .length = 1 };
	int fd = open("/dev/mmwatch", O_RDWR | O_CLOEXEC), read_only;
	void *counters, *once_more;
	struct statvfs dev;

	page = sysconf(_SC_PAGESIZE);
	ASSERT_LE(0, fd);
	/* No watch exists yet. */
	EXPECT_EQ(MAP_FAILED, map_counters(fd, page, PROT_READ, 0));
	EXPECT_EQ(EINVAL, errno);
	ASSERT_EQ(0, ioctl(fd, MMWATCH_WATCH, &watch));
	EXPECT_EQ(MAP_FAILED, map_counters(fd, page, PROT_READ | PROT_WRITE, 0));
	EXPECT_EQ(EINVAL, errno);
	/* The kernel itself refuses executable mappings if /dev is mounted with noexec. */
	ASSERT_EQ(0, fstatvfs(fd, &dev));
	EXPECT_EQ(MAP_FAILED, map_counters(fd, page, PROT_READ | PROT_EXEC, 0));
	EXPECT_EQ(dev.f_flag & ST_NOEXEC ? EPERM : EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, map_counters(fd, page, PROT_READ, page));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED,
		  map_counters(fd, (MMWATCH_MAX_RANGES + 1) * sizeof(uint64_t), PROT_READ, 0));
	EXPECT_EQ(ENOSPC, errno);
	counters = map_counters(fd, 2 * page, PROT_READ, 0);
	ASSERT_NE(MAP_FAILED, counters);
	EXPECT_EQ(-1, mprotect(counters, page, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	/* The mapping cannot be made inheritable. */
	EXPECT_EQ(-1, madvise(counters, page, MADV_DOFORK));
	EXPECT_EQ(EINVAL, errno);
	/* The counters can be mapped again, as a whole or in part, but not beyond their end. */
	once_more = map_counters(fd, page, PROT_READ, 0);
	ASSERT_NE(MAP_FAILED, once_more);
	EXPECT_EQ(MAP_FAILED, map_counters(fd, 3 * page, PROT_READ, 0));
	EXPECT_EQ(EBUSY, errno);
	ASSERT_EQ(0, ioctl(fd, MMWATCH_ADD_RANGE, &range));
	EXPECT_EQ(range.value, ((uint64_t *)counters)[range.index]);
	ASSERT_EQ(0, ioctl(fd, MMWATCH_REMOVE_RANGE, (unsigned long)range.index));
	EXPECT_NE(range.value, ((volatile uint64_t *)counters)[range.index]);
	EXPECT_NE(range.value, ((volatile uint64_t *)once_more)[range.index]);
	close(fd);

	read_only = open("/dev/mmwatch", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, read_only);
	ASSERT_EQ(0, ioctl(read_only, MMWATCH_WATCH, &watch));
	EXPECT_EQ(MAP_FAILED, map_counters(read_only, page, PROT_READ | PROT_WRITE, 0));
	EXPECT_EQ(EACCES, errno);
	/* After ranges were added without counters, counters cannot be mapped. */
	ASSERT_EQ(0, ioctl(read_only, MMWATCH_ADD_RANGE, &range));
	EXPECT_EQ(MAP_FAILED, map_counters(read_only, page, PROT_READ, 0));
	EXPECT_EQ(EBUSY, errno);
	close(read_only);

	/* Watch the whole address space: there are no ranges to count. */
	fd = open("/dev/mmwatch", O_RDWR | O_CLOEXEC);
	watch.flags = 0;
	ASSERT_EQ(0, ioctl(fd, MMWATCH_WATCH, &watch));
	EXPECT_EQ(MAP_FAILED, map_counters(fd, page, PROT_READ, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(fd, MMWATCH_REMOVE_RANGE, 0UL));
	EXPECT_EQ(EINVAL, errno);
	close(fd);
}

/*
 * After the end of the watch, all ranges are changed. The counters stay valid as long as they are
 * mapped.
 */
TEST_F(ranges, unwatch)
{
	struct mmwatch_range other;
	uint64_t value;

	ASSERT_EQ(0, mmwatch_range_add(&self->ranges, self->memory, page, 0, &other));
	EXPECT_FALSE(CHANGED());
	ASSERT_EQ(0, ioctl(self->ranges.fd, MMWATCH_UNWATCH));
	EXPECT_TRUE(CHANGED());
	EXPECT_TRUE(mmwatch_range_changed(&self->ranges, &other));
	EXPECT_EQ(-EINVAL, mmwatch_range_remove(&self->ranges, &other));
	close(self->ranges.fd);
	value = *(volatile uint64_t *)&self->ranges.counters[other.index];
	ASSERT_EQ(0, munmap(self->memory, PAGES * page));
	EXPECT_EQ(value, *(volatile uint64_t *)&self->ranges.counters[other.index]);
	EXPECT_TRUE(CHANGED());
}

#define THREADS	4
#define ROUNDS	500

struct shared {
	struct mmwatch_ranges *ranges;
	struct mmwatch_range *range;	/* a range that a child must find changed */
	int threads;			/* the number of threads that still run */
	int wrong_changed, wrong_unchanged, failed;
	int forks, rounds;
};

static void *maps_and_unmaps(void *data)
{
	struct shared *shared = data;
	struct mmwatch_range range;
	int i, j;

	for (i = 0; i < ROUNDS; i++) {
		char *memory = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		/* Exclude the memory from forks. */
		if (memory == MAP_FAILED || madvise(memory, PAGES * page, MADV_DONTFORK))
			break;
		memset(memory, i, PAGES * page);
		if (mmwatch_range_add(shared->ranges, memory, PAGES * page, i, &range))
			break;
		for (j = 0; j < 20; j++) {
			memory[j % PAGES * page] = j;
			if (mmwatch_range_changed(shared->ranges, &range))
				__atomic_fetch_add(&shared->wrong_changed, 1, __ATOMIC_RELAXED);
		}
		munmap(memory, PAGES * page);
		if (!mmwatch_range_changed(shared->ranges, &range))
			__atomic_fetch_add(&shared->wrong_unchanged, 1, __ATOMIC_RELAXED);
		if (mmwatch_range_remove(shared->ranges, &range))
			break;
		__atomic_fetch_add(&shared->rounds, 1, __ATOMIC_RELAXED);
	}
	if (i < ROUNDS)
		__atomic_fetch_add(&shared->failed, 1, __ATOMIC_RELAXED);
	__atomic_fetch_sub(&shared->threads, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void *forks(void *data)
{
	struct shared *shared = data;

	while (__atomic_load_n(&shared->threads, __ATOMIC_RELAXED)) {
		pid_t child = fork();

		if (child == 0)
			_exit(!mmwatch_range_changed(shared->ranges, shared->range));
		if (wait_for(child))
			__atomic_fetch_add(&shared->failed, 1, __ATOMIC_RELAXED);
		shared->forks++;
	}
	return NULL;
}

TEST_F(ranges, threads)
{
	struct shared shared = { .ranges = &self->ranges,
				 .range = &self->range,
				 .threads = THREADS };
	pthread_t thread[THREADS + 1];
	int i;

	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, maps_and_unmaps, &shared));
	ASSERT_EQ(0, pthread_create(&thread[i], NULL, forks, &shared));
	for (i = 0; i <= THREADS; i++)
		pthread_join(thread[i], NULL);
	EXPECT_EQ(THREADS * ROUNDS, shared.rounds);
	EXPECT_LT(0, shared.forks);
	EXPECT_EQ(0, shared.failed);
	EXPECT_EQ(0, shared.wrong_changed);
	EXPECT_EQ(0, shared.wrong_unchanged);
}

#define CONTENTS	64

struct race {
	struct mmwatch_ranges *ranges;
	volatile uint64_t *memory;
	int fd;			/* the first word of each page is the page's number */
	int stop;
	uint64_t valid, changed, wrong, failed, remaps;
};

/* Maps another page of the file, alternately by mmap() and mremap(), without a gap in between. */
static void *remaps(void *data)
{
	struct race *race = data;
	unsigned int number = 0;

	while (!__atomic_load_n(&race->stop, __ATOMIC_RELAXED)) {
		off_t offset = ++number % CONTENTS * page;
		void *memory = (void *)race->memory, *other;

		if (number & 1) {
			if (mmap(memory, page, PROT_READ, MAP_SHARED | MAP_FIXED, race->fd,
				 offset) != memory)
				race->failed++;
		} else {
			other = mmap(NULL, page, PROT_READ, MAP_SHARED, race->fd, offset);
			if (mremap(other, page, page, MREMAP_MAYMOVE | MREMAP_FIXED, memory) !=
			    memory)
				race->failed++;
		}
		race->remaps++;
		/* Keep the page for a while now and then. */
		if (number % 64 == 0)
			usleep(1000);
	}
	return NULL;
}

static void *registers_and_reads(void *data)
{
	struct race *race = data;
	struct mmwatch_range range;
	uint64_t valid = 0, changed = 0, wrong = 0, failed = 0;
	int i;

	while (!__atomic_load_n(&race->stop, __ATOMIC_RELAXED)) {
		uint64_t content;

		if (mmwatch_range_add(race->ranges, (void *)race->memory, page, 0, &range)) {
			failed++;
			break;
		}
		content = *race->memory;
		for (i = 0; i < 100; i++) {
			uint64_t now = *race->memory;

			if (mmwatch_range_changed(race->ranges, &range)) {
				changed++;
				break;
			}
			valid++;
			wrong += now != content;
		}
		failed += mmwatch_range_remove(race->ranges, &range) != 0;
	}
	__atomic_fetch_add(&race->valid, valid, __ATOMIC_RELAXED);
	__atomic_fetch_add(&race->changed, changed, __ATOMIC_RELAXED);
	__atomic_fetch_add(&race->wrong, wrong, __ATOMIC_RELAXED);
	__atomic_fetch_add(&race->failed, failed, __ATOMIC_RELAXED);
	return NULL;
}

/*
 * If a range is found unchanged, it has the contents of the time when it was added, even if another
 * thread remaps the page concurrently.
 */
TEST_F(ranges, race)
{
	struct race race = { .ranges = &self->ranges };
	pthread_t thread[3];
	uint64_t i;

	race.fd = memfd_create("contents", MFD_CLOEXEC);
	ASSERT_LE(0, race.fd);
	ASSERT_EQ(0, ftruncate(race.fd, CONTENTS * page));
	for (i = 0; i < CONTENTS; i++)
		ASSERT_EQ(sizeof(i), pwrite(race.fd, &i, sizeof(i), i * page));
	race.memory = mmap(NULL, page, PROT_READ, MAP_SHARED, race.fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)race.memory);
	ASSERT_EQ(0, pthread_create(&thread[0], NULL, remaps, &race));
	for (i = 1; i < 3; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, registers_and_reads, &race));
	sleep(10);
	__atomic_store_n(&race.stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	EXPECT_EQ(0, race.failed);
	EXPECT_EQ(0, race.wrong);
	EXPECT_LT(100, race.remaps);
	EXPECT_LT(100, race.valid);
	EXPECT_LT(100, race.changed);
	TH_LOG("%llu remaps; found valid %llu times, changed %llu times",
	       (unsigned long long)race.remaps, (unsigned long long)race.valid,
	       (unsigned long long)race.changed);
}

TEST_HARNESS_MAIN
