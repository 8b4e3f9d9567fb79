// SPDX-License-Identifier: GPL-2.0
/*
 * Makes a page exclusive in one thread, while another thread looks up the page and the 31 pages
 * behind it, for writing or without faults.
 *
 * The flags are compared when neither thread is in a call: the page is exclusive if its page
 * table entry is not present, because no page is swapped out.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
static char *p; static int d, map, stop, how = 2;
static pthread_barrier_t before, after;
static void *looker(void *a)
{
	for (;;) {
		pthread_barrier_wait(&before);
		if (stop) return 0;
		for (volatile int i = rand() % 2000; i > 0; i--) ;
		ioctl(d, 0x100 + how, p);
		pthread_barrier_wait(&after);
	}
}
int main(int argc, char **argv)
{
	pthread_t t; long n = 0, excl = 0, lost = 0, stale = 0, wr = 0, failed = 0; time_t end = time(0) + atoi(argv[1]);
	d = open("/dev/exclflag", O_RDWR); map = open("/proc/self/pagemap", O_RDONLY);
	/* Place each of the first 32 pages in a separate VMA, so that the look-up takes longer. */
	p = mmap(0, 64 * 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 32; i += 2) madvise(p + i * 4096, 4096, MADV_DONTFORK);
	memset(p, 1, 64 * 4096);
	pthread_barrier_init(&before, 0, 2); pthread_barrier_init(&after, 0, 2);
	pthread_create(&t, 0, looker, 0);
	for (; time(0) < end; n++) {
		uint64_t e; long r, q;
		how = n & 1 ? 4 : 2;
		((volatile char *)p)[0] = n;
		if (n % 7 == 0) madvise(p, 4096, MADV_DONTNEED);
		pthread_barrier_wait(&before);
		for (volatile int i = rand() % 2000; i > 0; i--) ;
		r = ioctl(d, 0x101, p);
		pthread_barrier_wait(&after);
		if (r < 0) failed++;
		q = ioctl(d, 0x103, p);
		if (pread(map, &e, 8, (uintptr_t)p / 4096 * 8) != 8) { perror("pagemap"); return 1; }
		int exclusive = !(e >> 63) && (e >> 62 & 1);
		if (exclusive) excl++;
		if (exclusive && q && !((q - 1) & 1)) lost++;
		if (exclusive && q && !((q - 1) & 2)) wr++;
		if (!exclusive && q && ((q - 1) & 1)) stale++;
	}
	stop = 1; pthread_barrier_wait(&before); pthread_join(t, 0);
	printf("rounds %ld exclusive %ld flag-lost %ld not-writable %ld stale %ld failed %ld\n", n, excl, lost, wr, stale, failed);
	return 0;
}
