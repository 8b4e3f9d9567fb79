// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the operations of the benchmark's devices, as init of a machine that counts instructions as
 * nanoseconds. With the argument "native", the machine runs at full speed, and operations that take
 * long to set up are left out. With "together", the machine has two CPUs, and some operations run
 * on both at the same time.
 *
 * The result of an operation is the time of a call with many items, minus the time of a call with
 * few items, divided by the difference of their numbers; hence the cost of the call itself is left
 * out. Results are medians of several rounds, with the interquartile range of the rounds.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "lib/test_hmm_uapi.h"

#define FEW	16
#define ROUNDS_MAX	40

static int rounds = 20, timed;

static const char *const modules[] = {
	"tether", "bench_shim", "bench_c", "bench_c_twin", "bench_c_guarded", "bench_raw",
	"bench_tether", "bench_instead",
};

static const char *const devices[] = { "c", "c_twin", "c_guarded", "raw", "tether", "instead" };

enum { C, C_TWIN, C_GUARDED, RAW, TETHER, INSTEAD, DEVICES };

static const struct {
	const char *name;
	int operation;
	/* The difference between the numbers of many and of few items. */
	int more;
	/* How the items are processed, if not in a single call. */
	enum { IN_ONE, ALONE, DISPATCHED, BARE, CROWDED, MADE } how;
	/* An operation that sets up other objects first. */
	int besides;
	/* The operation can run on two CPUs at the same time. */
	int together;
	/* The operation switches to another thread. */
	int slow;
} operations[] = {
	{ "task_work: self, embedded", BENCH_TASK_WORK_EMBEDDED, 1000 },
	{ "task_work: self, embedded, one a call", BENCH_TASK_WORK_EMBEDDED, 1000, ALONE },
	{ "task_work: self, shared", BENCH_TASK_WORK_SHARED, 1000 },
	{ "task_work: self, allocated", BENCH_TASK_WORK_BOXED, 1000, .together = 1 },
	{ "task_work: another thread and back", BENCH_TASK_WORK_ROUND_TRIP, 1000, .slow = 1 },
	{ "kthread: run and stop", BENCH_KTHREAD_RUN_STOP, 1000, .together = 1,
	  .slow = 1 },
	{ "kthread: park and unpark", BENCH_KTHREAD_PARK_UNPARK, 1000, .slow = 1 },
	{ "kthread: worker, one and flush", BENCH_WORKER_QUEUE_FLUSH, 1000, .slow = 1 },
	{ "kthread: worker, 64 and flush", BENCH_WORKER_BATCH, 1000, .slow = 1 },
	{ "mmu_notifier: invalidation, no notifier", BENCH_NOTIFIERS, 1, BARE },
	{ "mmu_notifier: start, end: 1 there", BENCH_NOTIFIERS, 1, DISPATCHED },
	{ "mmu_notifier: start, end: each of 16", BENCH_NOTIFIERS, 16, DISPATCHED },
	{ "mmu_notifier: start, end: each of 10000", BENCH_NOTIFIERS, 10000, CROWDED },
	{ "mmu_notifier: register one more", BENCH_NOTIFIERS, 15, MADE },
	{ "mmu_notifier: shared, get and put", BENCH_SHARED_GET_PUT, 1000, .together = 1 },
	{ "interval: invalidate: 1 there", BENCH_INTERVALS, 1, DISPATCHED },
	{ "interval: invalidate: each of 16", BENCH_INTERVALS, 16, DISPATCHED },
	{ "interval: read", BENCH_INTERVAL_READ, 1000, IN_ONE, BENCH_INTERVALS, .together = 1 },
	{ "interval: insert and remove", BENCH_INTERVAL_INSERT_REMOVE, 1000, IN_ONE,
	  BENCH_INTERVALS, .together = 1 },
};

static long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000 + time.tv_nsec;
}

/*
 * The number of calls per measurement, each with the same number of items. Operations that take
 * nanoseconds are repeated, so that noise of microseconds does not matter.
 */
static int calls = 1;

static int call(int fd, int operation, int count)
{
	int i, failed = 0;

	for (i = 0; i < calls && !failed; i++)
		failed = ioctl(fd, BENCH_RUN(operation), count);
	return failed;
}

static long measure(int fd, int operation, int count)
{
	long begun = now();

	return call(fd, operation, count) ? -1 : now() - begun;
}

static pthread_barrier_t begin_together, end_together;
static int together_fd, together_operation, together_count, together_failed;

static void stay_on(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		printf("bench: no CPU %d\n", cpu);
}

/* Runs on the other CPU the operation that measure_together() runs on this CPU. */
static void *do_together(void *data)
{
	stay_on(1);
	for (;;) {
		pthread_barrier_wait(&begin_together);
		together_failed = call(together_fd, together_operation, together_count);
		pthread_barrier_wait(&end_together);
	}
	return NULL;
}

/* Returns the time for @count items on each of two CPUs at the same time. */
static long measure_together(int fd, int operation, int count)
{
	long begun;
	int failed;

	together_fd = fd;
	together_operation = operation;
	together_count = count;
	pthread_barrier_wait(&begin_together);
	begun = now();
	failed = call(fd, operation, count);
	pthread_barrier_wait(&end_together);
	return failed || together_failed ? -1 : now() - begun;
}

/* Returns the time for a number of calls with @count items each. */
static long measure_alone(int fd, int operation, int count, int calls)
{
	long begun = now();

	while (calls--)
		if (ioctl(fd, BENCH_RUN(operation), count))
			return -1;
	return now() - begun;
}

/* Returns the mean time of an invalidation of a page. */
static long invalidation(int times)
{
	static char page[4096] __attribute__((aligned(4096)));
	long begun = now();
	int i;

	for (i = 0; i < times; i++)
		madvise(page, sizeof(page), MADV_DONTNEED);
	return (now() - begun) / times;
}

/* Returns the mean time of an invalidation with this number of notifiers. */
static long measure_invalidations(int fd, int operation, int notifiers)
{
	long took;

	if (ioctl(fd, BENCH_RUN(operation), notifiers))
		return -1;
	took = invalidation(1000);
	ioctl(fd, BENCH_RUN(operation), 0);
	return took;
}

/* Measures all rounds with the same notifiers, because setting up many of them takes long. */
static void measure_crowded(int fd, int operation, int notifiers, long *few, long *many)
{
	int round;

	for (round = 0; round < rounds; round++)
		few[round] = invalidation(1000);
	if (ioctl(fd, BENCH_RUN(operation), notifiers))
		few[0] = -1;
	invalidation(2);
	for (round = 0; round < rounds; round++)
		many[round] = invalidation(2);
	ioctl(fd, BENCH_RUN(operation), 0);
}

static int compare(const void *one, const void *other)
{
	long a = *(const long *)one, b = *(const long *)other;

	return a < b ? -1 : a > b;
}

/* The times of a device, in each round. */
static struct {
	int fd;
	int refused;
	long few[ROUNDS_MAX], many[ROUNDS_MAX];
} taken[DEVICES];

/* Returns the difference between many and few. If time is measured, slow operations use less. */
static int more_of(int number)
{
	int more = operations[number].more;

	return timed && operations[number].slow ? more / 10 : more;
}

/* Returns the number of calls. If time is measured, fast operations use more. */
static int calls_of(int number, int together)
{
	if (!timed || operations[number].slow || operations[number].how != IN_ONE)
		return 1;
	return together ? 20 : 100;
}

/*
 * Runs an operation on all devices. The devices take turns, because the load by other activity of
 * the kernel varies over time.
 */
static void run(int number, int together)
{
	int operation = operations[number].operation, more = more_of(number);
	int besides = operations[number].besides, round;
	size_t i;

	for (i = 0; besides && i < DEVICES; i++)
		ioctl(taken[i].fd, BENCH_RUN(besides), 1);

	for (i = 0; operations[number].how == CROWDED && i < DEVICES; i++) {
		measure_crowded(taken[i].fd, operation, more, taken[i].few, taken[i].many);
		taken[i].refused = taken[i].few[0] < 0;
	}
	if (operations[number].how == CROWDED)
		return;

	/* Caches warm up in the rounds before round 0, which overwrites their results. */
	for (round = -3; round < rounds; round++) {
		for (i = 0; i < DEVICES; i++) {
			long *few = &taken[i].few[round < 0 ? 0 : round];
			long *many = &taken[i].many[round < 0 ? 0 : round];
			int fd = taken[i].fd;

			switch (operations[number].how) {
			case IN_ONE:
				*few = (together ? measure_together : measure)(fd, operation, FEW);
				*many = (together ? measure_together : measure)(fd, operation,
										FEW + more);
				break;
			case ALONE:
				*few = measure_alone(fd, operation, 0, more);
				*many = measure_alone(fd, operation, 1, more);
				break;
			case DISPATCHED:
				*few = measure_invalidations(fd, operation, 0);
				*many = measure_invalidations(fd, operation, more);
				break;
			case BARE:
				*few = 0;
				*many = measure_invalidations(fd, operation, 0);
				break;
			case CROWDED:
				break;
			case MADE:
				*few = measure(fd, operation, 1);
				*many = measure(fd, operation, 1 + more) + *few;
				/* Unregistering waits, and is not measured. */
				ioctl(fd, BENCH_RUN(operation), 0);
				break;
			}
			taken[i].refused = *few < 0 || *many < 0;
		}
	}
	for (i = 0; besides && i < DEVICES; i++)
		ioctl(taken[i].fd, BENCH_RUN(besides), 0);
}

/*
 * Returns the instructions or nanoseconds per item, in tenths: the difference between the medians
 * of many and few. *spread is the interquartile range of many.
 */
static long median(size_t device, int more, long *spread)
{
	long few[ROUNDS_MAX], many[ROUNDS_MAX];

	if (taken[device].refused)
		return -1;
	memcpy(few, taken[device].few, sizeof(few));
	memcpy(many, taken[device].many, sizeof(many));
	qsort(few, rounds, sizeof(*few), compare);
	qsort(many, rounds, sizeof(*many), compare);
	*spread = (many[rounds * 3 / 4] - many[rounds / 4]) * 10 / more;
	return (many[rounds / 2] - few[rounds / 2]) * 10 / more;
}

/*
 * Calculates the ratio of Tether to guarded C in each round, in ten-thousandths: the median and the
 * quartiles. Other activity of the machine affects both in nearly the same way.
 */
static void ratio(long quartiles[3])
{
	long ratios[ROUNDS_MAX], base;
	int round, i;

	for (round = 0; round < rounds; round++) {
		base = taken[C_GUARDED].many[round] - taken[C_GUARDED].few[round];
		ratios[round] = (taken[TETHER].many[round] - taken[TETHER].few[round]) * 10000 /
				(base > 0 ? base : 1);
	}
	qsort(ratios, rounds, sizeof(*ratios), compare);
	for (i = 0; i < 3; i++)
		quartiles[i] = ratios[rounds * (i + 1) / 4];
}

static size_t run_and_tell(int number, int together, char *output, size_t size)
{
	size_t length = snprintf(output, size, "BENCH|%s%s", operations[number].name,
				 together ? ", on two CPUs" : "");
	long quartiles[3], spread, each;
	size_t i;

	calls = calls_of(number, together);
	run(number, together);
	for (i = 0; i < DEVICES; i++) {
		spread = 0;
		each = median(i, more_of(number) * calls, &spread);
		length += snprintf(output + length, size - length, "|%ld:%ld", each, spread);
	}
	ratio(quartiles);
	return length + snprintf(output + length, size - length, "|%ld:%ld:%ld\n", quartiles[1],
				 quartiles[0], quartiles[2]);
}

/* The number of places in the ranges at which each operation is measured. */
#define PLACES	32

static int scales(size_t device)
{
	return device == C || device == C_GUARDED || device == TETHER;
}

/* Returns the time of an invalidation of the page at a place, or -1. */
static long invalidate_at(unsigned long place)
{
	char *page = (char *)BENCH_RANGES_START + place * 2 * 4096;
	long begun;

	if (mmap(page, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		 0) != page)
		return -1;
	madvise(page, 4096, MADV_DONTNEED);
	begun = now();
	madvise(page, 4096, MADV_DONTNEED);
	begun = now() - begun;
	munmap(page, 4096);
	return begun;
}

/*
 * Measures the cost of one interval notifier among many, by their number: the additional time of an
 * invalidation that only this notifier gets, the insertion, and the removal. Prints the medians
 * over several places in the tree.
 */
static int scale(size_t device, int ranges, char *output, size_t size)
{
	static const char *const names[] = { "invalidate", "insert", "remove" };
	unsigned long places[PLACES];
	long took[3][PLACES];
	int fd = taken[device].fd, i, length = 0;
	size_t j;

	for (i = 0; i < PLACES; i++) {
		/* Irregular places, spread over all ranges. */
		places[i] = (i * 2654435761UL + 12345) % ranges;
		took[0][i] = -invalidate_at(places[i]);
	}
	if (ioctl(fd, BENCH_RUN(BENCH_RANGES), ranges))
		return snprintf(output, size, "bench: no %d ranges\n", ranges);
	for (i = 0; i < PLACES; i++) {
		took[0][i] += invalidate_at(places[i]);
		measure(fd, BENCH_NOTHING, 0);
		took[1][i] = -measure(fd, BENCH_NOTHING, 0);
		took[2][i] = took[1][i];
		took[1][i] += measure(fd, BENCH_RANGE_INSERT, places[i]);
		took[2][i] += measure(fd, BENCH_RANGE_REMOVE, 0);
	}
	for (j = 0; j < 3; j++) {
		qsort(took[j], PLACES, sizeof(*took[j]), compare);
		length += snprintf(output + length, size - length, "SCALE|%s|%s|%d|%ld\n",
				   devices[device], names[j], ranges, took[j][PLACES / 2]);
	}
	ioctl(fd, BENCH_RUN(BENCH_RANGES), 0);
	return length;
}

/* The memory that devices mirror, and the buffer that they copy from or to. */
#define MIRROR_FEW	16
#define MIRROR_MORE	256
#define MIRROR_SIZE	((MIRROR_FEW + MIRROR_MORE) * 4096)

static const struct {
	const char *name;
	int request;
	/* The table of the device is empty, so that pages are looked up. */
	int looked_up;
} mirrored[] = {
	{ "hmm: look a page up, read it", HMM_DMIRROR_READ, 1 },
	{ "hmm: read a page in the table", HMM_DMIRROR_READ },
	{ "hmm: look a page up, write it", HMM_DMIRROR_WRITE, 1 },
	{ "hmm: write a page in the table", HMM_DMIRROR_WRITE },
};

#define MIRRORED (sizeof(mirrored) / sizeof(*mirrored))

/*
 * The times of the drivers c, c_twin and tether. Two drivers have the same device nodes, so that
 * only one of them is loaded at a time.
 */
static long mirror_took[MIRRORED][DEVICES][2];

static int load(const char *name)
{
	char path[64];
	int fd, ret;

	snprintf(path, sizeof(path), "/%s.ko", name);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -1;
	ret = syscall(SYS_finit_module, fd, "", 0);
	close(fd);
	return ret;
}

static long measure_mirror(int fd, int which, char *memory, char *data, int pages)
{
	struct hmm_dmirror_cmd command = {
		.addr = (unsigned long)memory,
		.ptr = (unsigned long)data,
		.npages = pages,
	};
	long begun;

	if (mirrored[which].looked_up) {
		mprotect(memory, MIRROR_SIZE, PROT_READ);
		mprotect(memory, MIRROR_SIZE, PROT_READ | PROT_WRITE);
	}
	begun = now();
	if (ioctl(fd, mirrored[which].request, &command))
		return -1;
	return now() - begun;
}

static void run_mirror(size_t device, const char *module)
{
	long few[ROUNDS_MAX], many[ROUNDS_MAX];
	char *memory, *data;
	int fd, round;
	size_t i;

	for (i = 0; i < MIRRORED; i++)
		mirror_took[i][device][0] = -1;
	if (load(module))
		return;
	fd = open("/dev/hmm_dmirror0", O_RDWR);
	memory =
		mmap(NULL, MIRROR_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	data = mmap(NULL, MIRROR_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(memory, MIRROR_SIZE, MADV_NOHUGEPAGE);
	madvise(data, MIRROR_SIZE, MADV_NOHUGEPAGE);
	memset(memory, 1, MIRROR_SIZE);
	memset(data, 1, MIRROR_SIZE);
	for (i = 0; i < MIRRORED; i++) {
		for (round = -3; round < rounds; round++) {
			int at = round < 0 ? 0 : round;

			few[at] = measure_mirror(fd, i, memory, data, MIRROR_FEW);
			many[at] = measure_mirror(fd, i, memory, data, MIRROR_FEW + MIRROR_MORE);
		}
		if (few[0] < 0 || many[0] < 0)
			continue;
		qsort(few, rounds, sizeof(*few), compare);
		qsort(many, rounds, sizeof(*many), compare);
		mirror_took[i][device][0] = (many[rounds / 2] - few[rounds / 2]) * 10 / MIRROR_MORE;
		mirror_took[i][device][1] =
			(many[rounds * 3 / 4] - many[rounds / 4]) * 10 / MIRROR_MORE;
	}
	munmap(memory, MIRROR_SIZE);
	munmap(data, MIRROR_SIZE);
	close(fd);
	syscall(SYS_delete_module, module, O_NONBLOCK);
}

static pthread_barrier_t target_there;

/* The target of works of other threads: it waits in a system call, as a server does. */
static void *be_target(void *data)
{
	size_t i;

	for (i = 0; i < DEVICES; i++)
		ioctl(taken[i].fd, BENCH_RUN(BENCH_BE_TARGET), 0);
	pthread_barrier_wait(&target_there);
	for (;;)
		pause();
	return NULL;
}

int main(int argc, char **argv)
{
	/* The output is printed at the end, because a console would disturb the measurement. */
	static char output[65536];
	size_t length = 0, i, j;
	int together = argc > 1 && !strcmp(argv[1], "together");
	pthread_t target, other;

	if (together || (argc > 1 && !strcmp(argv[1], "native"))) {
		timed = 1;
		rounds = ROUNDS_MAX;
	}

	mkdir("/dev", 0755);
	mkdir("/sys", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	for (i = 0; i < sizeof(modules) / sizeof(*modules); i++) {
		if (load(modules[i])) {
			printf("bench: cannot load %s\n", modules[i]);
			goto out;
		}
	}
	/* Wait until the boot has finished its deferred work. */
	sleep(5);
	/*
	 * With a real-time priority, a woken thread does not run before this thread waits.
	 * Otherwise, the order would depend on the time that each thread has used.
	 */
	if (sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){ .sched_priority = 1 }))
		printf("bench: no real-time priority\n");
	for (j = 0; j < DEVICES; j++) {
		char path[64];

		snprintf(path, sizeof(path), "/dev/bench-%s", devices[j]);
		taken[j].fd = open(path, O_RDWR);
		if (taken[j].fd < 0) {
			printf("bench: cannot open %s\n", path);
			goto out;
		}
	}
	pthread_barrier_init(&target_there, NULL, 2);
	if (together) {
		pthread_barrier_init(&begin_together, NULL, 2);
		pthread_barrier_init(&end_together, NULL, 2);
		pthread_create(&other, NULL, do_together, NULL);
		stay_on(0);
	}
	pthread_create(&target, NULL, be_target, NULL);
	pthread_barrier_wait(&target_there);
	for (i = 0; i < sizeof(operations) / sizeof(*operations); i++)
		if (together ? operations[i].together : !timed || operations[i].how != CROWDED)
			length += run_and_tell(i, together, output + length,
					       sizeof(output) - length);
	if (timed)
		goto over;
	for (j = 0; j < DEVICES; j++)
		for (i = 0; i < MIRRORED; i++)
			mirror_took[i][j][0] = -1;
	run_mirror(C, "test_hmm");
	run_mirror(C_TWIN, "test_hmm");
	run_mirror(TETHER, "rust_hmm_mirror");
	for (i = 0; i < MIRRORED; i++) {
		length += snprintf(output + length, sizeof(output) - length, "BENCH|%s",
				   mirrored[i].name);
		for (j = 0; j < DEVICES; j++)
			length += snprintf(output + length, sizeof(output) - length, "|%ld:%ld",
					   mirror_took[i][j][0], mirror_took[i][j][1]);
		length += snprintf(output + length, sizeof(output) - length, "\n");
	}
	for (i = 1; i <= BENCH_RANGES_MAX; i *= 10)
		for (j = 0; j < DEVICES; j++)
			if (scales(j))
				length += scale(j, i, output + length, sizeof(output) - length);
over:
	fwrite(output, 1, length, stdout);
	printf("BENCH-END\n");
out:
	fflush(stdout);
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
