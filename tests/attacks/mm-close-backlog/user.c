// SPDX-License-Identifier: GPL-2.0
/*
 * Opens and closes the device of rust_mmu_notifier.ko in a loop, each time with a new
 * registration of a notifier.
 *
 * The removal of a notifier may wait for a grace period of SRCU (synchronize_srcu()), and a
 * work item removes the dropped registrations one after the other. Threads of the process
 * invalidate memory meanwhile. Without a limit of dropped registrations, rmmod would wait for
 * the removal of all of them.
 *
 * A sound library makes the opener wait for removals, so that rmmod takes less than 20
 * seconds.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
static volatile int stop;
static void *churn(void *a) { while (!stop) { char *p = mmap(0, 4096, 3, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0); *p = 1; munmap(p, 4096); } return 0; }
int main(int argc, char **argv)
{
	pthread_t t; unsigned long n = 0; int seconds = atoi(argv[1]), threads = atoi(argv[2]);
	if (setuid(65534)) return 1;
	for (int i = 0; i < threads; i++) pthread_create(&t, 0, churn, 0);
	for (time_t end = time(0) + seconds; time(0) < end;)
		for (int i = 0; i < 100; i++, n++) { int d = open("/dev/rust-mmu-notifier", O_RDONLY); if (d < 0) { perror("open"); printf("%lu opened\n", n); return 1; } close(d); }
	stop = 1;
	printf("%lu opened and closed in %d s\n", n, seconds);
	fflush(stdout);
	_exit(0);
}
