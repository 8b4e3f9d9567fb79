// SPDX-License-Identifier: GPL-2.0
/*
 * Many threads begin and end the watch of one file of mmwatch.ko.
 *
 * A call that has begun a watch may make the file idle again although another call is beginning
 * a watch. Then two calls begin a watch at the same time, and one of them replaces the other's.
 *
 * A sound driver has one watch at a time: as many calls have begun a watch as have ended one,
 * and a reader of a watch that has ended returns.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include "mmwatch.h"
static int fd, stop;
static long begun, ended, busy, idle, other;
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec * 1e-9; }
static void *begins(void *a)
{
	struct mmwatch_watch w = { 0, MMWATCH_RANGES, 0 };
	while (!__atomic_load_n(&stop, 0)) {
		if (!ioctl(fd, MMWATCH_WATCH, &w)) __atomic_add_fetch(&begun, 1, 5);
		else __atomic_add_fetch(errno == EBUSY ? &busy : &other, 1, 5);
	}
	return a;
}
static void *ends(void *a)
{
	while (!__atomic_load_n(&stop, 0)) {
		if (!ioctl(fd, MMWATCH_UNWATCH)) __atomic_add_fetch(&ended, 1, 5);
		else __atomic_add_fetch(errno == EINVAL ? &idle : &other, 1, 5);
	}
	return a;
}
static void *asks(void *a)
{
	struct mmwatch_status s;
	while (!__atomic_load_n(&stop, 0)) ioctl(fd, MMWATCH_STATUS, &s);
	return a;
}
int main(int argc, char **argv)
{
	pthread_t t[64];
	int n = 0, lost = 0;
	double end = now() + atoi(argv[1]);
	if (setuid(65534)) return 1;
	fd = open("/dev/mmwatch", O_RDONLY);
	if (fd < 0) { perror("open"); return 1; }
	long rounds = 0, b = 0, e = 0;
	while (now() < end && !lost) {
		double until = now() + 1;
		stop = 0; n = 0;
		for (int i = 0; i < 4; i++) pthread_create(&t[n++], 0, begins, 0);
		for (int i = 0; i < 4; i++) pthread_create(&t[n++], 0, ends, 0);
		for (int i = 0; i < 3; i++) pthread_create(&t[n++], 0, asks, 0);
		while (now() < until) usleep(10000);
		__atomic_store_n(&stop, 1, 0);
		while (n) pthread_join(t[--n], 0);
		if (!ioctl(fd, MMWATCH_UNWATCH)) ended++;
		rounds++;
		b += begun; e += ended;
		if (begun != ended) { lost = 1; printf("LOST: %ld calls of WATCH have succeeded, and %ld of UNWATCH, in round %ld\n", begun, ended, rounds); }
		begun = ended = 0;
	}
	printf("%ld rounds, begun %ld, ended %ld, busy %ld, idle %ld, other %ld\n", rounds, b, e, busy, idle, other);
	puts(lost ? "VERDICT lost" : "VERDICT good");
	fflush(stdout);
	_exit(0);
}
