// SPDX-License-Identifier: GPL-2.0
/*
 * Maps memory, touches it and unmaps it in a loop, and prints the time per iteration, to measure
 * the cost of a watcher. The watcher is another program, or the program itself:
 *
 *   userfaultfd   a thread reads an event for each unmapping, as a monitor does
 *   device        mmwatch's device, without a reader
 *   ranges        mmwatch's device with 100,000 ranges in other memory
 *
 * Usage: bench_watched [WATCHED-BY [ROUNDS]]
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../samples/mmwatch.h"

#define PAGES	4
#define EACH	500

static int uffd = -1;
static unsigned long events;

static void *monitor(void *data)
{
	struct uffd_msg message;

	while (read(uffd, &message, sizeof(message)) == sizeof(message))
		if (message.event == UFFD_EVENT_UNMAP)
			events++;
	return NULL;
}

static long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000L + time.tv_nsec;
}

static int compare(const void *one, const void *other)
{
	long a = *(const long *)one, b = *(const long *)other;

	return a < b ? -1 : a > b;
}

static void map_and_unmap(void)
{
	size_t size = PAGES * sysconf(_SC_PAGESIZE);
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		exit(1);
	if (uffd >= 0) {
		struct uffdio_register range = {
			.range = { (unsigned long)memory, size },
			/* No page is write-protected: only unmappings are reported. */
			.mode = UFFDIO_REGISTER_MODE_WP,
		};

		if (ioctl(uffd, UFFDIO_REGISTER, &range)) {
			perror("UFFDIO_REGISTER");
			exit(1);
		}
	}
	memset(memory, 1, size);
	munmap(memory, size);
}

static void watch_by_userfaultfd(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_EVENT_UNMAP };
	pthread_t thread;

	uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) ||
	    pthread_create(&thread, NULL, monitor, NULL)) {
		perror("userfaultfd");
		exit(1);
	}
}

static void watch_by_device(int ranges)
{
	struct mmwatch_watch watch = { .flags = ranges ? MMWATCH_RANGES : 0 };
	int fd = open("/dev/mmwatch", O_RDWR | O_CLOEXEC), i;

	if (fd < 0 || ioctl(fd, MMWATCH_WATCH, &watch)) {
		perror("/dev/mmwatch");
		exit(1);
	}
	for (i = 0; i < ranges; i++) {
		struct mmwatch_range range = { (1UL << 44) + i * 8192UL, 4096 };

		if (ioctl(fd, MMWATCH_ADD_RANGE, &range)) {
			perror("MMWATCH_ADD_RANGE");
			exit(1);
		}
	}
}

int main(int argc, char **argv)
{
	const char *by = argc > 1 ? argv[1] : "nothing";
	int rounds = argc > 2 ? atoi(argv[2]) : 20, round, i;
	long *took = calloc(rounds, sizeof(*took));

	if (!strcmp(by, "userfaultfd"))
		watch_by_userfaultfd();
	else if (!strcmp(by, "device"))
		watch_by_device(0);
	else if (!strcmp(by, "ranges"))
		watch_by_device(100000);
	/* Caches warm up in the rounds before round 0. */
	for (round = -2; round < rounds; round++) {
		long begun = now();

		for (i = 0; i < EACH; i++)
			map_and_unmap();
		took[round < 0 ? 0 : round] = (now() - begun) / EACH;
	}
	qsort(took, rounds, sizeof(*took), compare);
	printf("WATCHED|%ld|%ld|%ld\n", took[rounds / 2], took[rounds / 4], took[rounds * 3 / 4]);
	if (uffd >= 0 && events < (unsigned long)rounds * EACH)
		fprintf(stderr, "userfaultfd: only %lu events\n", events);
	fflush(stdout);
	_exit(0);
}
