// SPDX-License-Identifier: GPL-2.0
/*
 * Fails each allocation on each public path once: the error is returned, and nothing is leaked.
 * Needs the module tether, the test modules, mmwatch and rust_hmm_mirror, the directory
 * TETHER_MODULES, and a kernel with fault injection.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"
#include "lib/test_hmm_uapi.h"
#include "modules.h"
#include "test_kthread.h"
#include "test_mmu_notifier.h"
#include "tether_test.h"
#include "../samples/mmwatch.h"

#define FAULTS "/sys/kernel/debug/"

/* Fail allocations of any size, including those that may wait, and do not log each failure. */
#define set_up_faults() do {								\
	ASSERT_EQ(0, write_file(FAULTS "failslab/ignore-gfp-wait", "N"));		\
	ASSERT_EQ(0, write_file(FAULTS "failslab/verbose", "0"));			\
	ASSERT_EQ(0, write_file(FAULTS "fail_page_alloc/ignore-gfp-wait", "N"));	\
	ASSERT_EQ(0, write_file(FAULTS "fail_page_alloc/min-order", "0"));		\
	ASSERT_EQ(0, write_file(FAULTS "fail_page_alloc/verbose", "0"));		\
} while (0)

FIXTURE(fault)
{
	int fd;
};

FIXTURE_SETUP(fault)
{
	self->fd = open("/dev/test-kthread", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	set_up_faults();
}

FIXTURE_TEARDOWN(fault)
{
	close(self->fd);
}

/* Lets the @nth allocation of a task from now on fail; 0: none. */
static int fail(const char *task, int nth)
{
	char path[64], number[16];
	int ret;

	snprintf(path, sizeof(path), "/proc/%s/fail-nth", task);
	snprintf(number, sizeof(number), "%d", nth);
	/* The failing allocation may be one of this write. */
	do
		ret = write_file(path, number);
	while (ret == -ENOMEM);
	return ret;
}

/* Returns the number of allocations until one fails, or 0 if one has failed. */
static int left(const char *task)
{
	char path[64], number[16] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/fail-nth", task);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	read(fd, number, sizeof(number) - 1);
	close(fd);
	return atoi(number);
}

static void fail_each(struct __test_metadata *_metadata, int fd, const char *task)
{
	int kind, nth;

	for (kind = 0; kind < KTHREAD_TEST_KINDS; kind++) {
		int failed = 0, survived = 0;

		for (nth = 1; nth < 200; nth++) {
			struct kthread_test_counts counts;
			int ret;

			ASSERT_EQ(0, fail(task, nth));
			ret = ioctl(fd, KTHREAD_TEST_KIND, kind) ? errno : 0;
			if (left(task)) {
				/* The path has fewer than nth allocations. */
				ASSERT_EQ(0, fail(task, 0));
				EXPECT_EQ(0, ret);
				break;
			}
			ASSERT_EQ(0, ioctl(fd, KTHREAD_TEST_COUNTS, &counts));
			EXPECT_EQ(counts.made, counts.dropped);
			if (ret) {
				/* For some allocations, fork() returns EAGAIN. */
				EXPECT_TRUE(ret == ENOMEM || ret == EAGAIN);
				failed++;
			} else {
				survived++;
			}
		}
		TH_LOG("kind %d: %d allocations failed it, %d did not", kind, failed, survived);
		EXPECT_LT(0, failed);
		EXPECT_GT(200, nth);
		/* Without faults, the call succeeds again. */
		EXPECT_EQ(0, ioctl(fd, KTHREAD_TEST_KIND, kind));
	}
}

/* Allocations of the task that creates the thread or the worker. */
TEST_F(fault, of_the_caller)
{
	fail_each(_metadata, self->fd, "self");
}

/* Allocations of kthreadd, which creates all other kernel threads: stacks, for example. */
TEST_F(fault, of_the_maker_of_threads)
{
	fail_each(_metadata, self->fd, "2");
}

/* A public path. run() uses it, releases its resources, and returns 0 or the error. */
struct path {
	const char *name;
	int (*run)(long argument);
	long argument;
};

static char *memory;

static int devices[4];
enum { TASK_WORK, NOTIFIERS, MIRROR, WATCH };
static const char *const names[] = {
	"/dev/tether-test", "/dev/test-mmu-notifier", "/dev/hmm_dmirror0", "/dev/mmwatch",
};

static int call(int device, unsigned long command, void *argument)
{
	return ioctl(devices[device], command, argument) < 0 ? errno : 0;
}

static int add(long kind)
{
	struct tether_test_add argument = { 0, TETHER_TEST_RESUME, kind, 3 };

	return call(TASK_WORK, TETHER_TEST_ADD, &argument);
}

/* The queue of a file. The queue has an item that lives as long as the file is open. */
static int ordered(long unused)
{
	struct tether_test_add argument = { 0, TETHER_TEST_RESUME, TETHER_TEST_ORDERED, 3 };
	int fd = open(names[TASK_WORK], O_RDWR | O_CLOEXEC), ret;

	if (fd < 0)
		return errno;
	ret = ioctl(fd, TETHER_TEST_ADD, &argument) ? errno : 0;
	close(fd);
	return ret;
}

#define FD_CLOSE _IO(0xBB, 1)

/* If closing a descriptor fails, the descriptor stays open. */
static int take(long unused)
{
	int device = open("/dev/rust-fd-close", O_RDWR | O_CLOEXEC), ret, there;

	if (device < 0)
		return errno;
	dup2(devices[TASK_WORK], 100);
	ret = ioctl(device, FD_CLOSE, 100) ? errno : 0;
	there = fcntl(100, F_GETFD) >= 0;
	close(100);
	close(device);
	return there == !ret ? EUCLEAN : ret;
}

static int notifier(long kind)
{
	int ret = call(NOTIFIERS, MMU_TEST_REGISTER, (void *)kind);

	call(NOTIFIERS, MMU_TEST_UNREGISTER, NULL);
	return ret;
}

static int shared(long unused)
{
	int ret = call(NOTIFIERS, MMU_TEST_GET, NULL);

	return ret ?: call(NOTIFIERS, MMU_TEST_PUT, NULL);
}

static int look_up(long unused)
{
	struct mmu_test_fault argument = { (uintptr_t)memory, { 2, 2, 2, 2 } };

	madvise(memory, 1 << 16, MADV_DONTNEED);
	return call(NOTIFIERS, MMU_TEST_FAULT, &argument);
}

/* A new mirror, which is created when the file is opened. */
static int mirror(long command)
{
	static char data[4 << 12] __attribute__((aligned(4096)));
	struct hmm_dmirror_cmd argument = { (uintptr_t)memory, (uintptr_t)data, 4 };
	int fd = open(names[MIRROR], O_RDWR | O_CLOEXEC), ret;

	if (fd < 0)
		return errno;
	madvise(memory, 1 << 16, MADV_DONTNEED);
	ret = ioctl(fd, command, &argument) < 0 ? errno : 0;
	close(fd);
	return ret;
}

static int watch(long flags)
{
	struct mmwatch_watch argument = { .flags = flags };
	struct mmwatch_range range = { (uintptr_t)memory, 4096 };
	int fd = open(names[WATCH], O_RDWR | O_CLOEXEC), ret;
	void *counters = MAP_FAILED;

	if (fd < 0)
		return errno;
	ret = ioctl(fd, MMWATCH_WATCH, &argument) ? errno : 0;
	if (!ret && flags & MMWATCH_RANGES) {
		counters = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
		if (counters == MAP_FAILED)
			ret = errno;
		else
			ret = ioctl(fd, MMWATCH_ADD_RANGE, &range) ? errno : 0;
		/* A range that could not be added does not occupy a slot. */
		if (!ret && range.index)
			ret = EUCLEAN;
	}
	if (counters != MAP_FAILED)
		munmap(counters, 4096);
	close(fd);
	return ret;
}

/* Loads a module and unloads it again, to test the allocations of its init. */
static int module(long name)
{
	int ret = -load((const char *)name);

	if (!ret) {
		ret = -unload((const char *)name);
		/* If the failing allocation is one of the removal, the next removal succeeds. */
		if (ret && (left("self") || unload((const char *)name)))
			return EUCLEAN;
	}
	return ret;
}

static const struct path paths[] = {
	{ "task_work::add, a box", add, TETHER_TEST_BOX },
	{ "task_work::add, an Arc", add, TETHER_TEST_ARC },
	{ "task_work::add, twice", add, TETHER_TEST_REQUEUE },
	{ "task_work::add_fn", add, TETHER_TEST_CLOSURE },
	{ "task_work::Ordered", ordered },
	{ "fd::take", take },
	{ "module, rust_fd_close", module, (long)"rust_fd_close" },
	{ "mmu_notifier, release", notifier, MMU_TEST_RELEASE_ONLY },
	{ "mmu_notifier, ranges", notifier, MMU_TEST_RANGES },
	{ "mmu_notifier, may refuse", notifier, MMU_TEST_TRY_RANGES },
	{ "mmu_notifier, secondary TLBs", notifier, MMU_TEST_SECONDARY_TLBS },
	{ "mmu_notifier, age", notifier, MMU_TEST_AGE },
	{ "interval_notifier", notifier, MMU_TEST_INTERVAL },
	{ "interval_notifier, two passes", notifier, MMU_TEST_TWO_PASSES },
	{ "shared_notifier", shared },
	{ "hmm, fault", look_up },
	{ "mirror, read", mirror, HMM_DMIRROR_READ },
	{ "mirror, write", mirror, HMM_DMIRROR_WRITE },
	{ "mirror, snapshot", mirror, HMM_DMIRROR_SNAPSHOT },
	{ "mirror, exclusive", mirror, HMM_DMIRROR_EXCLUSIVE },
	{ "mmwatch", watch, 0 },
	{ "mmwatch, stacks", watch, MMWATCH_STACKS },
	{ "mmwatch, shared_counters", watch, MMWATCH_RANGES },
	{ "module, rust_task_work", module, (long)"rust_task_work" },
	{ "module, rust_mmu_notifier", module, (long)"rust_mmu_notifier" },
	{ "module, rust_kthread", module, (long)"rust_kthread" },
};

FIXTURE(path)
{
};

FIXTURE_SETUP(path)
{
	int i;

	for (i = 0; i < 4; i++) {
		devices[i] = open(names[i], O_RDWR | O_CLOEXEC);
		ASSERT_LE(0, devices[i]);
	}
	memory = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, memory);
	set_up_faults();
}

FIXTURE_TEARDOWN(path)
{
}

/* Returns whether all objects were dropped. Waits for objects that are freed later. */
static int balanced(void)
{
	struct tether_test_counts works;
	struct mmu_test_counts notifiers;
	int i;

	for (i = 0; i < 100; i++) {
		if (call(TASK_WORK, TETHER_TEST_COUNTS, &works) ||
		    call(NOTIFIERS, MMU_TEST_COUNTS, &notifiers))
			return 0;
		if (works.made == works.dropped &&
		    notifiers.shared_made == notifiers.shared_dropped)
			return 1;
		usleep(10000);
	}
	return 0;
}

TEST_F(path, each_allocation)
{
	unsigned int i;

	for (i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		const struct path *path = &paths[i];
		int failed = 0, survived = 0, loaded, nth;

		/* A module that the other paths need is loaded again afterwards. */
		loaded = path->run == module && !unload((const char *)path->argument);
		/* Make the allocations that are made only once, on first use. */
		EXPECT_EQ(0, path->run(path->argument));
		for (nth = 1; nth < 2000; nth++) {
			int ret;

			ASSERT_EQ(0, fail("self", nth));
			ret = path->run(path->argument);
			if (left("self")) {
				/* The path has fewer than nth allocations. */
				ASSERT_EQ(0, fail("self", 0));
				EXPECT_EQ(0, ret);
				break;
			}
			if (ret) {
				/* EFAULT: a page of the caller could not be allocated. */
				EXPECT_TRUE(ret == ENOMEM || ret == EAGAIN || ret == EFAULT)
				TH_LOG("%s, allocation %d: %s", path->name, nth, strerror(ret));
				failed++;
			} else {
				survived++;
			}
			EXPECT_TRUE(balanced())
				TH_LOG("%s, allocation %d: not balanced", path->name, nth);
		}
		TH_LOG("%s: %d allocations failed it, %d did not", path->name, failed, survived);
		EXPECT_GT(2000, nth);
		/* Without faults, the path succeeds again. */
		EXPECT_EQ(0, path->run(path->argument));
		EXPECT_TRUE(balanced());
		if (loaded)
			EXPECT_EQ(0, load((const char *)path->argument));
	}
}

/*
 * Error injection cannot make any of the functions that Tether calls fail. If a kernel adds such a
 * function, the tests above have to fail it as well.
 */
TEST(no_functions_to_fail)
{
	static const char *const called[] = {
		"task_work_add",
		"kthread_create",
		"mmu_notifier_register",
		"mmu_notifier_get",
		"mmu_interval_notifier_insert",
		"hmm_range_fault",
		"make_device_exclusive",
		"hmm_dma",
		"vm_insert_page",
		"misc_register",
	};
	FILE *list = fopen(FAULTS "fail_function/injectable", "r");
	char line[256];
	int lines = 0;

	ASSERT_NE(NULL, list);
	while (fgets(line, sizeof(line), list)) {
		lines++;
		for (unsigned int i = 0; i < sizeof(called) / sizeof(*called); i++)
			EXPECT_NE(0, strncmp(line, called[i], strlen(called[i])))
				TH_LOG("%s", line);
	}
	fclose(list);
	EXPECT_LT(0, lines);
}

TEST_HARNESS_MAIN
