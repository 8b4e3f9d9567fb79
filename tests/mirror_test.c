// SPDX-License-Identifier: GPL-2.0
/*
 * The mirror driver of samples/, beyond the kernel's hmm-tests: operations that the driver refuses,
 * and proof that it accesses only memory that its process has. Needs tether and rust_hmm_mirror.
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
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/userfaultfd.h>

#include "harness.h"
#include "storm.h"
#include "lib/test_hmm_uapi.h"

#define PAGE 4096UL

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

/* Sends a command to the driver. Returns 0, or the error. */
static int ask(int fd, unsigned long request, const void *address, void *data, size_t pages,
	       struct hmm_dmirror_cmd *answer)
{
	struct hmm_dmirror_cmd command = {
		.addr = (uintptr_t)address,
		.ptr = (uintptr_t)data,
		.npages = pages,
	};
	int ret = ioctl(fd, request, &command) ? -errno : 0;

	if (answer)
		*answer = command;
	return ret;
}

static int dread(int fd, const void *address, void *data, size_t pages)
{
	return ask(fd, HMM_DMIRROR_READ, address, data, pages, NULL);
}

static int dwrite(int fd, const void *address, void *data, size_t pages)
{
	return ask(fd, HMM_DMIRROR_WRITE, address, data, pages, NULL);
}

static char *mapped(size_t pages)
{
	return mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

FIXTURE(mirror)
{
	int fd;
	char *memory;
	char *data;
};

FIXTURE_SETUP(mirror)
{
	self->fd = open("/dev/hmm_dmirror0", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->memory = mapped(16);
	self->data = mapped(16);
	ASSERT_NE(MAP_FAILED, self->memory);
	ASSERT_NE(MAP_FAILED, self->data);
	memset(self->memory, 1, 16 * PAGE);
}

FIXTURE_TEARDOWN(mirror)
{
	close(self->fd);
}

/* Bad input is refused with its errno and has no effect. */
TEST_F(mirror, bad_input)
{
	struct hmm_dmirror_cmd answer;
	char *data = self->data;

	EXPECT_EQ(-EINVAL, dread(self->fd, self->memory + 1, data, 1));
	EXPECT_EQ(-EINVAL, dread(self->fd, self->memory, data, 0));
	EXPECT_EQ(-EINVAL, dread(self->fd, self->memory, data, 1UL << 52));
	EXPECT_EQ(-EINVAL, dread(self->fd, (void *)-PAGE, data, 1));
	EXPECT_EQ(-EINVAL, dread(self->fd, (void *)-PAGE, data, 2));
	EXPECT_EQ(-E2BIG, dread(self->fd, self->memory, data, 1UL << 30));
	EXPECT_EQ(-EFAULT, ioctl(self->fd, HMM_DMIRROR_READ, NULL) ? -errno : 0);
	EXPECT_EQ(-ENOTTY, ask(self->fd, HMM_DMIRROR_MIGRATE_TO_DEV, self->memory, data, 1, NULL));
	EXPECT_EQ(-ENOTTY, ask(self->fd, HMM_DMIRROR_MIGRATE_TO_SYS, self->memory, data, 1, NULL));
	EXPECT_EQ(-ENOTTY, ask(self->fd, _IO('H', 0x42), self->memory, data, 1, NULL));
	/* The user buffer for the data is not mapped. */
	ASSERT_EQ(0, munmap(data + PAGE, PAGE));
	EXPECT_EQ(-EFAULT, dread(self->fd, self->memory, data + PAGE, 1));
	EXPECT_EQ(-EFAULT, dwrite(self->fd, self->memory, data + PAGE, 1));
	EXPECT_EQ(-EFAULT, ask(self->fd, HMM_DMIRROR_SNAPSHOT, self->memory, data + PAGE, 1, NULL));
	/* The memory that the device accesses is not mapped, or not completely. */
	EXPECT_EQ(-EFAULT, dread(self->fd, data + PAGE, data, 1));
	ASSERT_EQ(0, munmap(self->memory + 8 * PAGE, PAGE));
	EXPECT_EQ(-EFAULT, dread(self->fd, self->memory, data, 16));
	/* The device still works. */
	EXPECT_EQ(0, ask(self->fd, HMM_DMIRROR_READ, self->memory, data, 1, &answer));
	EXPECT_EQ(1, answer.cpages);
	EXPECT_EQ(0, memcmp(self->memory, data, PAGE));
}

/* The device cannot write to memory that the process cannot write to. */
TEST_F(mirror, protection)
{
	memset(self->data, 2, PAGE);
	EXPECT_EQ(0, dwrite(self->fd, self->memory, self->data, 1));
	EXPECT_EQ(2, *self->memory);
	ASSERT_EQ(0, mprotect(self->memory, PAGE, PROT_READ));
	memset(self->data, 3, PAGE);
	EXPECT_EQ(-EPERM, dwrite(self->fd, self->memory, self->data, 1));
	EXPECT_EQ(2, *self->memory);
	EXPECT_EQ(0, dread(self->fd, self->memory, self->data, 1));
	ASSERT_EQ(0, mprotect(self->memory, PAGE, PROT_NONE));
	EXPECT_EQ(-EFAULT, dread(self->fd, self->memory, self->data, 1));
}

/* A child inherits the file but has another address space: it must open the device itself. */
TEST_F(mirror, child)
{
	int status;
	pid_t child;

	ASSERT_EQ(0, dread(self->fd, self->memory, self->data, 1));
	child = fork();
	if (child == 0) {
		int own = open("/dev/hmm_dmirror1", O_RDWR | O_CLOEXEC);

		if (dread(self->fd, self->memory, self->data, 1) != -EPERM)
			_exit(1);
		memset(self->data, 9, PAGE);
		if (dwrite(own, self->memory, self->data, 1) || *self->memory != 9)
			_exit(2);
		_exit(0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(1, *self->memory);
}

/*
 * When the CPU accesses a page that the device holds exclusively, the page is mapped again, with
 * the data that the device has written.
 */
TEST_F(mirror, exclusive)
{
	int fd = self->fd, round, memory;

	for (round = 0; round < 100; round++) {
		EXPECT_EQ(0, ask(fd, HMM_DMIRROR_EXCLUSIVE, self->memory, self->data, 16, NULL));
		EXPECT_EQ(0, memcmp(self->memory + PAGE, self->data + PAGE, PAGE));
		EXPECT_EQ(-EPERM,
			  ask(fd, HMM_DMIRROR_CHECK_EXCLUSIVE, self->memory, NULL, 1, NULL));
		EXPECT_EQ(0,
			  ask(fd, HMM_DMIRROR_CHECK_EXCLUSIVE, self->memory + PAGE, NULL, 1, NULL));
		memset(self->data, round, PAGE);
		EXPECT_EQ(0, dwrite(fd, self->memory, self->data, 1));
		EXPECT_EQ(-EPERM,
			  ask(fd, HMM_DMIRROR_CHECK_EXCLUSIVE, self->memory, NULL, 1, NULL));
		EXPECT_EQ(0, memcmp(self->memory, self->data, PAGE));
		EXPECT_EQ(0, ask(fd, HMM_DMIRROR_CHECK_EXCLUSIVE, self->memory, NULL, 1, NULL));
		/* Request exclusive pages again. */
		EXPECT_EQ(0,
			  ask(fd, HMM_DMIRROR_EXCLUSIVE, self->memory + PAGE, self->data, 2, NULL));
		EXPECT_EQ(0,
			  ask(fd, HMM_DMIRROR_EXCLUSIVE, self->memory + PAGE, self->data, 2, NULL));
	}
	/* Only private anonymous memory can be exclusive. */
	memory = memfd_create("exclusive", MFD_CLOEXEC);
	ASSERT_EQ(0, ftruncate(memory, PAGE));
	ASSERT_EQ(self->memory, mmap(self->memory, PAGE, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_FIXED, memory, 0));
	EXPECT_EQ(-EOPNOTSUPP, ask(fd, HMM_DMIRROR_EXCLUSIVE, self->memory, self->data, 1, NULL));
	close(memory);
}

static void *keep_reading(void *argument)
{
	void **arguments = argument;
	int fd = (int)(intptr_t)arguments[0];
	char *data = mapped(1);

	for (;;) {
		dread(fd, arguments[1], data, 1);
		dwrite(fd, arguments[1], data, 1);
	}
	return NULL;
}

/* A process is killed while the device accesses it; the file is closed with it, or stays open. */
TEST_F(mirror, killed)
{
	int round, status;

	for (round = 0; round < 20; round++) {
		int fd = open("/dev/hmm_dmirror1", O_RDWR | O_CLOEXEC);
		pid_t child = fork();

		if (child == 0) {
			void *arguments[2] = { (void *)(intptr_t)open("/dev/hmm_dmirror0", O_RDWR),
					       mapped(1) };
			pthread_t thread;

			if (pthread_create(&thread, NULL, keep_reading, arguments))
				_exit(1);
			for (;;) {
				munmap(arguments[1], PAGE);
				mmap(arguments[1], PAGE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
			}
		}
		usleep(20000 + round * 1000);
		kill(child, SIGKILL);
		ASSERT_EQ(child, waitpid(child, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		close(fd);
	}
}

#define CGROUP "/tmp/cgroup-mirror"

/* The device faults in more memory than the process may have: the OOM killer kills and reaps it. */
TEST_F(mirror, out_of_memory)
{
	int status;
	pid_t child;

	ASSERT_EQ(0,
		  system("mkdir -p " CGROUP " && mount -t cgroup2 none " CGROUP
			 " && echo +memory >" CGROUP "/cgroup.subtree_control && mkdir -p " CGROUP
			 "/small && echo 16M >" CGROUP "/small/memory.max && echo 0 >" CGROUP
			 "/small/memory.swap.max 2>/dev/null; true"));
	child = fork();
	if (child == 0) {
		size_t i, pages = 64 << 20 >> 12;
		char *memory, *data = mapped(1);
		int fd;

		if (write_file(CGROUP "/small/cgroup.procs", "0"))
			_exit(1);
		fd = open("/dev/hmm_dmirror0", O_RDWR);
		memory = mapped(pages);
		/* The device faults the pages in. */
		for (i = 0; i < pages; i++) {
			int ret = dwrite(fd, memory + i * PAGE, data, 1);

			if (ret && ret != -EINTR)
				_exit(2);
		}
		_exit(3);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) TH_LOG("status %x", status);
	EXPECT_EQ(0, system("grep -q '^oom_kill [1-9]' " CGROUP "/small/memory.events"));
	ASSERT_EQ(0, system("rmdir " CGROUP "/small && umount " CGROUP));
}

/*
 * The device reads and writes memory while random operations change it.
 *
 * The first and the last word of each page hold the same value. Only the holder of the page's lock
 * changes the value: the main thread after an operation on the page, and threads that let the
 * device write the page or make it exclusive. Other threads let the device read pages without the
 * lock, and compare the value if the page's version has not changed.
 */
#define LAST		(PAGE / sizeof(uint64_t) - 1)

static struct storm {
	int fd;
	char *memory;
	volatile int over;
	struct {
		pthread_mutex_t lock;
		/* Odd while the page is being changed. */
		uint64_t version;
		uint64_t value;
	} pages[STORM_PAGES];
	/* Reads with the right value, reads of a page that changed, reads with a wrong value. */
	long same, changed, wrong;
	/* Writes by the device, and pages that it made exclusive. */
	long written, taken;
	/* A file of memfd_secret(), if available; the number of "unserved" actions. */
	int secret, unserved;
} storm;

static uint64_t *words(int index)
{
	return (uint64_t *)(storm.memory + index * PAGE);
}

static void begin_change(int index)
{
	pthread_mutex_lock(&storm.pages[index].lock);
	__atomic_fetch_add(&storm.pages[index].version, 1, __ATOMIC_SEQ_CST);
}

static void end_change(int index, uint64_t value)
{
	__atomic_store_n(&storm.pages[index].value, value, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&storm.pages[index].version, 1, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&storm.pages[index].lock);
}

static void wrong_value(const char *who, int index, uint64_t first, uint64_t last, uint64_t value)
{
	if (__atomic_fetch_add(&storm.wrong, 1, __ATOMIC_RELAXED) < 10)
		printf("# %s: page %d has %lx and %lx, not %lx\n", who, index, first, last, value);
}

/* The device times out after a second. Retry, because the machine may be slow. */
static int write_at_last(const void *address, void *data)
{
	int ret;

	do {
		ret = dwrite(storm.fd, address, data, 1);
	} while (ret == -EBUSY);
	return ret;
}

static int read_at_last(const void *address, void *data)
{
	int ret;

	do {
		ret = dread(storm.fd, address, data, 1);
	} while (ret == -EBUSY);
	return ret;
}

static void *device_reads(void *seed)
{
	unsigned int state = (uintptr_t)seed;
	uint64_t *data = (uint64_t *)mapped(1);

	while (!storm.over) {
		int index = next_random(&state) % STORM_PAGES;
		uint64_t version = __atomic_load_n(&storm.pages[index].version, __ATOMIC_SEQ_CST);
		uint64_t value = __atomic_load_n(&storm.pages[index].value, __ATOMIC_SEQ_CST);
		int ret = ask(storm.fd, index % 2 ? HMM_DMIRROR_READ : HMM_DMIRROR_READ_UNLOCKED,
			      words(index), data, 1, NULL);

		/* A read times out after a second. */
		if (ret == -EBUSY || version % 2 ||
		    __atomic_load_n(&storm.pages[index].version, __ATOMIC_SEQ_CST) != version)
			__atomic_fetch_add(&storm.changed, 1, __ATOMIC_RELAXED);
		else if (ret == 0 && data[0] == value && data[LAST] == value)
			__atomic_fetch_add(&storm.same, 1, __ATOMIC_RELAXED);
		else
			wrong_value("the device", index, ret ? ret : data[0], data[LAST], value);
	}
	return NULL;
}

static void *device_writes(void *seed)
{
	unsigned int state = (uintptr_t)seed;
	uint64_t *data = (uint64_t *)mapped(1), count = 0;

	while (!storm.over) {
		int index = next_random(&state) % STORM_PAGES, ret;
		uint64_t value = 1UL << 63 | (uint64_t)(uintptr_t)seed << 48 | ++count, old;
		int take = count % 4 == 0;

		begin_change(index);
		old = storm.pages[index].value;
		ret = take ? ask(storm.fd, HMM_DMIRROR_EXCLUSIVE, words(index), data, 1, NULL) : 0;
		/* Fails for pages of a file, or if the page was mapped again meanwhile. */
		if (take && ret == 0) {
			__atomic_fetch_add(&storm.taken, 1, __ATOMIC_RELAXED);
			if (data[0] != old || data[LAST] != old)
				wrong_value("taken", index, data[0], data[LAST], old);
		}
		data[0] = value;
		data[LAST] = value;
		ret = write_at_last(words(index), data);
		if (ret)
			wrong_value("not written", index, ret, 0, value);
		__atomic_fetch_add(&storm.written, 1, __ATOMIC_RELAXED);
		end_change(index, value);
	}
	return NULL;
}

/*
 * Actions of this test only: memory that a device must not use, and memory that only the device has
 * written.
 */
enum { LAZY_FREE = ACTIONS, SECRET, UNSERVED, MIRROR_ACTIONS };

static const char *action_name(int action)
{
	static const char *const names[] = { "lazily free", "secret", "unserved" };

	return action < ACTIONS ? actions[action] : names[action - ACTIONS];
}

/* Registers a missing page with a userfaultfd that no task reads. Returns the descriptor. */
static int unserved_page(char *page)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (uintptr_t)page, PAGE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd >= 0 && !ioctl(fd, UFFDIO_API, &api) && !ioctl(fd, UFFDIO_REGISTER, &reg))
		return fd;
	close(fd);
	return -1;
}

/* Performs an action on locked pages. Returns NULL, or the error. */
static const char *happens(int action, int first, int count, int file)
{
	char *start = storm.memory + first * PAGE, *elsewhere;
	uint64_t data[PAGE / sizeof(uint64_t)];
	size_t length = count * PAGE;
	int i, status;
	pid_t child;

	switch (action) {
	case UNMAP:
		if (munmap(start, length))
			return "munmap";
		if (read_at_last(start, data) != -EFAULT)
			return "an unmapped page was read";
		break;
	case MOVE:
		elsewhere = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (mremap(start, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere) !=
		    MAP_FAILED) {
			if (read_at_last(start, data) != -EFAULT)
				return "a moved page was read at its old address";
			if (read_at_last(elsewhere, data) || data[0] != *(uint64_t *)elsewhere)
				return "a moved page was not read at its new address";
		}
		munmap(elsewhere, length);
		break;
	case DISCARD:
		madvise(start, length, MADV_DONTNEED);
		break;
	case PROTECT:
		mprotect(start, length, PROT_READ);
		memset(data, 0xff, sizeof(data));
		if (write_at_last(start, data) != -EPERM)
			return "a read-only page was written";
		mprotect(start, length, PROT_READ | PROT_WRITE);
		break;
	case FORK:
		/* fork() fails with ENOMEM while a page is being made exclusive: retry. */
		for (i = 0; i < 1000; i++) {
			child = fork();
			if (child >= 0 || errno != ENOMEM)
				break;
		}
		if (child == 0) {
			/* The parent's device writes concurrently, but not to the child's pages. */
			for (i = 0; i < count * 100; i++) {
				int index = first + i % count;

				/* File pages are shared: compare the two words with each other. */
				if (words(index)[0] != words(index)[LAST])
					_exit(1);
			}
			_exit(0);
		}
		for (i = 0; i < count; i++) {
			uint64_t old = words(first + i)[0];

			data[0] = old;
			data[LAST] = old;
			if (write_at_last(words(first + i), data))
				return "a copy could not be written";
			if (words(first + i)[0] != old)
				return "written data is missing";
		}
		if (child < 0 || waitpid(child, &status, 0) != child || status)
			return "a child has seen data of its parent";
		return NULL;
	case RECLAIM:
		madvise(start, length, MADV_PAGEOUT);
		return NULL;
	case TRUNCATE:
		/* The pages of the file are mapped in this range only, or not at all. */
		if (fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, first * PAGE,
			      length))
			return "fallocate";
		break;
	case REPLACE:
		if (mmap(start, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file,
			 first * PAGE) != start)
			return "mmap";
		break;
	case WRITE:
		break;
	case COLLAPSE:
		madvise(storm.memory, STORM_PAGES * PAGE, MADV_COLLAPSE);
		return NULL;
	case LAZY_FREE:
		/*
		 * Only the device writes: through clean page table entries, or to a hole that was
		 * read.
		 */
		if (madvise(start, length, MADV_FREE))
			fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, first * PAGE,
				  length);
		for (i = 0; i < count; i++) {
			volatile uint64_t *read = words(first + i);

			(void)read[0];
			memset(data, 0xa0 + i, sizeof(data));
			if (write_at_last(words(first + i), data))
				return "a lazily freed page could not be written";
		}
		madvise(start, length, MADV_PAGEOUT);
		for (i = 0; i < count; i++) {
			memset(data, 0xa0 + i, sizeof(data));
			if (memcmp(words(first + i), data, PAGE))
				return "data written by the device was lost";
		}
		return NULL;
	case SECRET:
		if (storm.secret < 0)
			return NULL;
		if (mmap(start, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, storm.secret,
			 0) != start)
			return "mmap of secret memory";
		*(volatile char *)start = 1;
		if (read_at_last(start, data) != -EFAULT || write_at_last(start, data) != -EFAULT)
			return "secret memory was not refused";
		break;
	case UNSERVED:
		/* This takes a second, the time limit of the device. */
		if (storm.unserved++ % 16)
			return NULL;
		if (mmap(start, length, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != start)
			return "mmap";
		i = unserved_page(start);
		if (i < 0)
			return "userfaultfd";
		/* A reading thread may have faulted the page in meanwhile. */
		madvise(start, PAGE, MADV_DONTNEED);
		if (dread(storm.fd, start, data, 1) != -EBUSY)
			return "an unserved page was read, or refused";
		close(i);
		return NULL;
	}
	if (action == SECRET)
		length = PAGE;
	if (action == UNMAP || action == MOVE || action == SECRET)
		if (mmap(start, length, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != start)
			return "mmap";
	return NULL;
}

/* Memory without a kernel mapping is refused, and marked as such in a snapshot. */
TEST_F(mirror, secret_memory)
{
	int secret = syscall(SYS_memfd_secret, 0);
	unsigned char snapshot[3] = { };

	if (secret < 0)
		SKIP(return, "no memfd_secret()");
	ASSERT_EQ(0, ftruncate(secret, PAGE));
	ASSERT_EQ(self->memory + PAGE, mmap(self->memory + PAGE, PAGE, PROT_READ | PROT_WRITE,
					    MAP_SHARED | MAP_FIXED, secret, 0));
	self->memory[PAGE] = 42;
	EXPECT_EQ(-EFAULT, dread(self->fd, self->memory + PAGE, self->data, 1));
	EXPECT_EQ(-EFAULT, dread(self->fd, self->memory, self->data, 3));
	EXPECT_EQ(-EFAULT, dwrite(self->fd, self->memory + PAGE, self->data, 1));
	EXPECT_EQ(0, ask(self->fd, HMM_DMIRROR_SNAPSHOT, self->memory, snapshot, 3, NULL));
	EXPECT_EQ(HMM_DMIRROR_PROT_ERROR, snapshot[1]);
	EXPECT_EQ(HMM_DMIRROR_PROT_WRITE, snapshot[2]);
	EXPECT_EQ(0, dread(self->fd, self->memory + 2 * PAGE, self->data, 1));
	close(secret);
}

#ifndef SYS_map_shadow_stack
#define SYS_map_shadow_stack 453
#endif

/* The device can neither read nor write a shadow stack, although its pages look writable. */
TEST_F(mirror, shadow_stack)
{
	char *stack = (char *)syscall(SYS_map_shadow_stack, 0UL, 4 * PAGE, 1UL);

	if (stack == MAP_FAILED)
		SKIP(return, "no shadow stacks");
	EXPECT_EQ(-EFAULT, dread(self->fd, stack, self->data, 1));
	EXPECT_EQ(-EFAULT, dwrite(self->fd, stack, self->data, 1));
}

/* Data that only the device has written survives reclaim of clean page table entries. */
TEST_F(mirror, write_outlives_reclaim)
{
	int file = memfd_create("clean", MFD_CLOEXEC), kind, i;

	ASSERT_EQ(0, ftruncate(file, 16 * PAGE));
	ASSERT_EQ(0, system("mkswap /dev/ram3 >/dev/null && swapon /dev/ram3"));
	for (kind = 0; kind < 2; kind++) {
		volatile char *memory = self->memory;

		if (kind == 0) {
			ASSERT_EQ(0, madvise(self->memory, 16 * PAGE, MADV_FREE));
		} else {
			ASSERT_EQ(self->memory,
				  mmap(self->memory, 16 * PAGE, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_FIXED, file, 0));
		}
		for (i = 0; i < 16; i++) {
			(void)memory[i * PAGE];
			memset(self->data, 0x40 + i, PAGE);
			ASSERT_EQ(0, dwrite(self->fd, self->memory + i * PAGE, self->data, 1));
		}
		madvise(self->memory, 16 * PAGE, MADV_PAGEOUT);
		for (i = 0; i < 16; i++)
			EXPECT_EQ(0x40 + i, self->memory[i * PAGE]);
	}
	ASSERT_EQ(0, system("swapoff /dev/ram3"));
	close(file);
}

TEST_F_TIMEOUT(mirror, storm, 3600)
{
	long seconds = storm_seconds("TETHER_MIRROR_SECONDS"), did[MIRROR_ACTIONS] = { };
	unsigned int seed = storm_seed(), state = seed, steps = 0;
	int file = memfd_create("storm", MFD_CLOEXEC), i;
	time_t end = time(NULL) + seconds;
	const char *wrong = NULL;
	pthread_t threads[4];
	uint64_t value = 0;

	TH_LOG("%ld s, TETHER_SEED=%u", seconds, seed);
	ASSERT_EQ(0, ftruncate(file, STORM_PAGES * PAGE));
	/* Without swap, nothing is reclaimed. */
	ASSERT_EQ(0, system("mkswap /dev/ram2 >/dev/null && swapon /dev/ram2"));
	storm.fd = self->fd;
	storm.secret = syscall(SYS_memfd_secret, 0);
	if (storm.secret >= 0)
		ASSERT_EQ(0, ftruncate(storm.secret, PAGE));
	storm.memory = mmap(STORM_MEMORY, STORM_PAGES * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_FIXED, -1, 0);
	ASSERT_NE(MAP_FAILED, storm.memory);
	for (i = 0; i < STORM_PAGES; i++)
		pthread_mutex_init(&storm.pages[i].lock, NULL);
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, i % 2 ? device_writes : device_reads,
					    (void *)(uintptr_t)(i + 1)));
	while (!wrong && !storm.wrong && (time(NULL) < end || steps < MIRROR_ACTIONS)) {
		int first = next_random(&state) % STORM_PAGES;
		int count = next_random(&state) % 16 + 1;
		/* Perform each action once first, even on a slow machine. */
		int action = steps < MIRROR_ACTIONS ? steps :
						      (int)(next_random(&state) % MIRROR_ACTIONS);

		if (count > STORM_PAGES - first)
			count = STORM_PAGES - first;
		steps++;
		did[action]++;
		for (i = first; i < first + count; i++) {
			begin_change(i);
			/* The process sees the last value, written by the CPU or the device. */
			if (words(i)[0] != storm.pages[i].value ||
			    words(i)[LAST] != storm.pages[i].value)
				wrong_value("the process", i, words(i)[0], words(i)[LAST],
					    storm.pages[i].value);
		}
		wrong = happens(action, first, count, file);
		value++;
		for (i = first; i < first + count; i++) {
			words(i)[0] = words(i)[LAST] = value;
			end_change(i, value);
		}
		/* Give the other threads time to take the locks. */
		if (next_random(&state) % 4 == 0)
			usleep(1000);
	}
	storm.over = 1;
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	ASSERT_EQ(0, system("swapoff /dev/ram2"));
	EXPECT_EQ(NULL, wrong) TH_LOG("%s", wrong);
	TH_LOG("read: %ld the same, %ld changed meanwhile, %ld wrong; written %ld, taken %ld",
	       storm.same, storm.changed, storm.wrong, storm.written, storm.taken);
	EXPECT_EQ(0, storm.wrong);
	EXPECT_LT(seconds * 10, storm.same);
	EXPECT_LT(seconds * 10, storm.written);
	EXPECT_LT(0, storm.taken);
	for (i = 0; i < MIRROR_ACTIONS; i++) {
		TH_LOG("%ld times: %s", did[i], action_name(i));
		EXPECT_LT(0, did[i]);
	}
	close(file);
	close(storm.secret);
}

TEST_HARNESS_MAIN
