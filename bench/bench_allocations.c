// SPDX-License-Identifier: GPL-2.0
/*
 * Counts the allocations of each operation of the benchmark's devices, and their bytes, on a kernel
 * with fault injection. No allocation fails: the fault attributes count the allocations until one
 * would fail. Prints the size of the facility's part of an item as well.
 *
 * For each device and operation: ALLOCATIONS|operation|device|allocations|bytes; for each object:
 * SIZE|object|device|bytes.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bench.h"

#define FAILSLAB "/sys/kernel/debug/failslab/"
#define MANY	1000000000L
#define FEW	16
#define MORE	64

static const char *const devices[] = { "c", "c_guarded", "raw", "tether", "instead" };
static const char *const objects[BENCH_OBJECTS] = {
	[BENCH_TASK_WORK] = "task work",
	[BENCH_KTHREAD_WORK] = "kthread work",
	[BENCH_NOTIFIER] = "notifier",
	[BENCH_INTERVAL] = "interval notifier",
};

static const struct {
	const char *name;
	int operation;
	/* The operation takes the number of objects to have, not a number of repetitions. */
	int made;
} operations[] = {
	{ "task_work: self, embedded", BENCH_TASK_WORK_EMBEDDED },
	{ "task_work: self, shared", BENCH_TASK_WORK_SHARED },
	{ "task_work: self, allocated", BENCH_TASK_WORK_BOXED },
	{ "kthread: run and stop", BENCH_KTHREAD_RUN_STOP },
	{ "kthread: park and unpark", BENCH_KTHREAD_PARK_UNPARK },
	{ "kthread: worker, one and flush", BENCH_WORKER_QUEUE_FLUSH },
	{ "mmu_notifier: register one more", BENCH_NOTIFIERS, 1 },
	{ "mmu_notifier: shared, get and put", BENCH_SHARED_GET_PUT },
	{ "interval: read", BENCH_INTERVAL_READ },
	{ "interval: insert and remove", BENCH_INTERVAL_INSERT_REMOVE },
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void set(const char *path, long value)
{
	char text[32];
	int fd = open(path, O_WRONLY);

	snprintf(text, sizeof(text), "%ld", value);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fail(path);
	close(fd);
}

static long get(const char *path)
{
	char text[32] = "";
	int fd = open(path, O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		fail(path);
	close(fd);
	return atol(text);
}

/* Returns the decrease of @counter by a call. */
static long taken(const char *counter, int fd, int operation, int count)
{
	long before, after;
	int ret;

	before = get(counter);
	ret = ioctl(fd, BENCH_RUN(operation), count);
	after = get(counter);
	return ret < 0 ? -1 : before - after;
}

static int compare(const void *one, const void *other)
{
	long a = *(const long *)one, b = *(const long *)other;

	return a < b ? -1 : a > b;
}

/* Returns the decrease of @counter per item, in hundredths. */
static long measure(const char *counter, int fd, int number)
{
	int operation = operations[number].operation;
	long few, many;

	/* Reading the counter allocates as well; the difference leaves this out. */
	if (operations[number].made) {
		ioctl(fd, BENCH_RUN(operation), 1);
		few = taken(counter, fd, operation, 1);
		many = taken(counter, fd, operation, 1 + MORE);
		ioctl(fd, BENCH_RUN(operation), 1);
	} else {
		few = taken(counter, fd, operation, FEW);
		many = taken(counter, fd, operation, FEW + MORE);
	}
	return few < 0 || many < 0 ? -1 : (many - few) * 100 / MORE;
}

/* Returns the median of some measurements, because the allocator itself allocates now and then. */
static long each(const char *counter, int fd, int number)
{
	long taken[9];
	size_t i;

	for (i = 0; i < 9; i++)
		taken[i] = measure(counter, fd, number);
	qsort(taken, 9, sizeof(*taken), compare);
	return taken[4];
}

int main(void)
{
	size_t i, j;

	/* Count all allocations of this task, and none of other tasks. */
	set(FAILSLAB "space", MANY);
	set(FAILSLAB "ignore-gfp-wait", 0);
	set(FAILSLAB "task-filter", 1);
	set(FAILSLAB "probability", 100);
	set("/proc/self/make-it-fail", 1);
	for (j = 0; j < sizeof(devices) / sizeof(*devices); j++) {
		char path[64];
		int fd;

		snprintf(path, sizeof(path), "/dev/bench-%s", devices[j]);
		fd = open(path, O_RDWR);
		if (fd < 0)
			fail(path);
		/* Make the allocations that are made only once. */
		ioctl(fd, BENCH_RUN(BENCH_INTERVALS), 1);
		ioctl(fd, BENCH_RUN(BENCH_NOTIFIERS), 1);
		for (i = 0; i < sizeof(operations) / sizeof(*operations); i++) {
			long allocations, bytes;

			/* Set the counters high enough that no allocation fails. */
			set(FAILSLAB "space", MANY);
			set("/proc/thread-self/fail-nth", MANY);
			allocations = each("/proc/thread-self/fail-nth", fd, i);
			set("/proc/thread-self/fail-nth", 0);
			bytes = each(FAILSLAB "space", fd, i);
			if (allocations >= 0)
				printf("ALLOCATIONS|%s|%s|%.2f|%.2f\n", operations[i].name,
				       devices[j], allocations / 100.0, bytes / 100.0);
		}
		set(FAILSLAB "space", MANY);
		for (i = 0; i < BENCH_OBJECTS; i++) {
			int size = ioctl(fd, BENCH_RUN(BENCH_SIZE), i);

			if (size >= 0)
				printf("SIZE|%s|%s|%d\n", objects[i], devices[j], size);
		}
		ioctl(fd, BENCH_RUN(BENCH_NOTIFIERS), 0);
		ioctl(fd, BENCH_RUN(BENCH_INTERVALS), 0);
	}
	return 0;
}
