// SPDX-License-Identifier: GPL-2.0
/*
 * Begins a watch with mmwatch.ko while MMWATCH_UNWATCH of another thread is in progress.
 *
 * MMWATCH_UNWATCH removes the watch and its counters, which have different locks. If it removed
 * the counters after it has released the lock of the watch, it would remove the counters of a new
 * watch. A range that is added then would have a counter that does not change.
 *
 * A sound driver removes both under the lock of the watch: the counters of the new watch can be
 * mapped, and change with each invalidation.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "mmwatch.h"
#define SIZE (1 << 20)
static int fd;
static atomic_int go, done, stop;
static long mapped, refused;
static void on(int cpu, int policy)
{
	cpu_set_t s; CPU_ZERO(&s); CPU_SET(cpu, &s); sched_setaffinity(0, sizeof s, &s);
	struct sched_param p = { 0 }; if (policy && sched_setscheduler(0, policy, &p)) perror("policy");
}
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec * 1e-9; }
static void *unwatcher(void *a)
{
	on(1, SCHED_IDLE);
	for (int seen = 0; !stop;) {
		if (go == seen) { usleep(100); continue; }
		seen = go;
		if (ioctl(fd, MMWATCH_UNWATCH)) { printf("unwatch: %s\n", strerror(errno)); }
		done = seen;
	}
	return 0;
}
static void *hog(void *a) { on(1, 0); while (!stop) ; return 0; }
static void *mapper(void *a)
{
	on(1, 0);
	while (!stop) {
		void *p = mmap(0, SIZE, PROT_READ, MAP_SHARED, fd, 0);
		if (p != MAP_FAILED) { mapped++; munmap(p, SIZE); } else refused++;
	}
	return 0;
}
int main(int argc, char **argv)
{
	struct mmwatch_watch w = { 0, MMWATCH_RANGES, 0 };
	pthread_t t; double end = now() + atoi(argv[1]); int rounds = 0, early = 0, bad = 0, denied = 0;
	if (setuid(65534)) return 1;
	fd = open("/dev/mmwatch", O_RDONLY);
	if (fd < 0 || ioctl(fd, MMWATCH_WATCH, &w)) { perror("watch"); return 1; }
	char *area = mmap(0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_create(&t, 0, unwatcher, 0);
	pthread_create(&t, 0, mapper, 0);
	/*
	 * Keep the unwatcher, which is SCHED_IDLE, from running on CPU 1 between its two locks.
	 */
	pthread_create(&t, 0, hog, 0);
	on(0, 0);
	while (now() < end && !bad) {
		volatile unsigned long *counters = mmap(0, SIZE, PROT_READ, MAP_SHARED, fd, 0);
		rounds++;
		usleep(2000);
		go++;
		double since = now();
		while (ioctl(fd, MMWATCH_WATCH, &w) && errno == EBUSY && now() < since + 5) ;
		if (done != go) {
			early++;
			/* The new watch has begun before MMWATCH_UNWATCH has returned. */
			if (counters != MAP_FAILED) munmap((void *)counters, SIZE);
			counters = mmap(0, SIZE, PROT_READ, MAP_SHARED, fd, 0);
			if (counters == MAP_FAILED) { if (!denied++) printf("mmap after a WATCH with RANGES that has succeeded: %s\n", strerror(errno)); }
			for (int i = 0; counters != MAP_FAILED && (done != go || i < 20) && now() < since + 8; i++) {
				struct mmwatch_range r = { (unsigned long)area, 4096, 1, 0, 0, 0 };
				*area = 1;
				if (ioctl(fd, MMWATCH_ADD_RANGE, &r)) { printf("add: %s\n", strerror(errno)); break; }
				unsigned long v = counters[r.index];
				madvise(area, 4096, MADV_DONTNEED);
				unsigned long u = counters[r.index];
				if (u == r.value || u == v) {
					printf("SILENT: value %llu, counter %lu, and after madvise(MADV_DONTNEED) %lu, counter %u, round %d\n", r.value, v, u, r.index, rounds);
					bad = 1;
					break;
				}
				ioctl(fd, MMWATCH_REMOVE_RANGE, r.index);
				usleep(200);
			}
		}
		while (done != go) usleep(100);
		if (counters != MAP_FAILED) munmap((void *)counters, SIZE);
		if (ioctl(fd, MMWATCH_UNWATCH)) printf("unwatch: %s\n", strerror(errno));
		if (ioctl(fd, MMWATCH_WATCH, &w)) printf("watch: %s\n", strerror(errno));
	}
	stop = 1;
	printf("%d rounds, in %d of them the new watch was early; mapped %ld, refused %ld\n", rounds, early, mapped, refused);
	printf("refused to map in %d rounds\n", denied);
	puts(bad == 1 ? "VERDICT silent" : denied ? "VERDICT refused" : "VERDICT good");
	fflush(stdout);
	_exit(0);
}
