// SPDX-License-Identifier: GPL-2.0
/*
 * Drives the benchmark's devices, as init of a machine that counts instructions as nanoseconds.
 *
 * For each operation and device: the time of a call with many items less that of a call with few,
 * by their difference. That leaves out what the call itself costs. The least of several rounds
 * counts, their spread is shown.
 */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define FEW	16
#define MANY	(FEW + 1000)
#define ROUNDS	20

static const char *const modules[] = {
	"tether", "bench_shim", "bench_c", "bench_c_twin", "bench_c_guarded", "bench_raw",
	"bench_tether",
};

static const char *const devices[] = { "c", "c_twin", "c_guarded", "raw", "tether" };

#define DEVICES (sizeof(devices) / sizeof(*devices))

static const struct {
	const char *name;
	int operation;
	/* In calls of their own, instead of many in one. */
	int alone;
} operations[] = {
	{ "task_work: queue on self and run, embedded", BENCH_TASK_WORK_EMBEDDED },
	{ "task_work: the same, one in a call", BENCH_TASK_WORK_EMBEDDED, 1 },
	{ "task_work: queue on self and run, shared", BENCH_TASK_WORK_SHARED },
	{ "task_work: allocate, queue on self, run, free", BENCH_TASK_WORK_BOXED },
};

static long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000 + time.tv_nsec;
}

static long measure(int fd, int operation, int count)
{
	long begun = now();

	if (ioctl(fd, BENCH_RUN(operation), count))
		return -1;
	return now() - begun;
}

/* As many calls, with this many items each. */
static long measure_alone(int fd, int operation, int count, int calls)
{
	long begun = now();

	while (calls--)
		if (ioctl(fd, BENCH_RUN(operation), count))
			return -1;
	return now() - begun;
}

/* Instructions for one item, in tenths; and how much of them the rounds differ by. */
static long best(int fd, int operation, int alone, long *spread)
{
	long least = -1, most = 0;
	int round;

	for (round = 0; round < ROUNDS + 3; round++) {
		long few = alone ? measure_alone(fd, operation, 0, MANY - FEW) :
				   measure(fd, operation, FEW);
		long many = alone ? measure_alone(fd, operation, 1, MANY - FEW) :
				    measure(fd, operation, MANY);
		long each;

		if (few < 0 || many < 0)
			return -1;
		/* What is cold warms up first. */
		if (round < 3)
			continue;
		each = (many - few) * 10 / (MANY - FEW);
		if (least < 0 || each < least)
			least = each;
		if (each > most)
			most = each;
	}
	*spread = most - least;
	return least;
}

int main(void)
{
	/* What is printed is kept until the end: a console would be in the way. */
	static char output[65536];
	size_t length = 0, i, j;
	int fds[DEVICES];

	mkdir("/dev", 0755);
	mkdir("/sys", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	for (i = 0; i < sizeof(modules) / sizeof(*modules); i++) {
		char path[64];
		int fd;

		snprintf(path, sizeof(path), "/%s.ko", modules[i]);
		fd = open(path, O_RDONLY);
		if (fd < 0 || syscall(SYS_finit_module, fd, "", 0)) {
			printf("bench: cannot load %s\n", path);
			goto out;
		}
		close(fd);
	}
	/* What the boot has left to do gets done. */
	sleep(5);
	for (j = 0; j < DEVICES; j++) {
		char path[64];

		snprintf(path, sizeof(path), "/dev/bench-%s", devices[j]);
		fds[j] = open(path, O_RDWR);
		if (fds[j] < 0) {
			printf("bench: cannot open %s\n", path);
			goto out;
		}
	}
	for (i = 0; i < sizeof(operations) / sizeof(*operations); i++) {
		length += snprintf(output + length, sizeof(output) - length, "BENCH|%s",
				   operations[i].name);
		for (j = 0; j < DEVICES; j++) {
			long spread = 0, each = best(fds[j], operations[i].operation,
							operations[i].alone, &spread);

			length += snprintf(output + length, sizeof(output) - length, "|%ld:%ld",
					   each, spread);
		}
		length += snprintf(output + length, sizeof(output) - length, "\n");
	}
	fwrite(output, 1, length, stdout);
	printf("BENCH-END\n");
out:
	fflush(stdout);
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
