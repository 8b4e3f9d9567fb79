// SPDX-License-Identifier: GPL-2.0
/* Reads and polls the samples' devices by io_uring: in io-wq threads, by SQPOLL, and multishot. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "mmwatch.h"
#include "uring.h"
static void *sleeps(void *a) { for (;;) pause(); return a; }
static void *churns(void *a) { for (;;) { char *m = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); m[0] = 1; munmap(m, 65536); usleep(1000); } return a; }
static char buf[8][65536];
int main(int argc, char **argv)
{
	uint64_t u; int64_t r; pthread_t t; char x[200];
	int mode = atoi(argv[1]);
	if (setup(0)) return 1;
	if (mode & 1) for (int i = 0; i < 4; i++) pthread_create(&t, 0, i == 3 ? churns : sleeps, 0);
	int c = open("/dev/rust-registration-cache", O_RDWR);
	char *m = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); m[0] = 1;
	uint64_t range[2] = { (uint64_t)m, 4096 };
	if (mode & 2) { char *k = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); uint64_t q[2] = { (uint64_t)k, 4096 }; printf("direct write: %ld\n", (long)write(c, q, 16)); }
	for (int i = 0; i < 2; i++) {
		range[1] = i & 1 ? 0 : 4096;
		struct timespec b, e; clock_gettime(CLOCK_MONOTONIC, &b);
		submit(IORING_OP_WRITE, c, range, 16, 0, 300 + i, mode & 4 ? 0 : IOSQE_ASYNC, 0);
		r = take(&u, 1500);
		if (r == -100000) { fflush(stdout); snprintf(x, sizeof x, "head -n 14 /proc/%d/task/*/comm /proc/%d/task/*/stack", getpid(), getpid()); system(x); r = take(&u, 1500); }
		clock_gettime(CLOCK_MONOTONIC, &e);
		printf("%s write %d: %lld user %llu after %ld ms\n", r == -100000 ? "BAD" : "ok", i, (long long)r, (unsigned long long)u, (e.tv_sec - b.tv_sec) * 1000 + (e.tv_nsec - b.tv_nsec) / 1000000);
		fflush(stdout);
	}
	puts("done");
	return 0;
}
