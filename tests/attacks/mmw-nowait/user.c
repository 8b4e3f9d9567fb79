// SPDX-License-Identifier: GPL-2.0
/* Reads and polls the samples' devices by io_uring: in io-wq threads, by SQPOLL, and multishot. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
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
static int w; static char *missing;
static void *reads(void *a) { printf("the blocked read: %ld\n", (long)read(w, missing, 65536)); return a; }
static void ring_bell(int s) { }
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec * 1e-9; }
int main(int argc, char **argv)
{
	pthread_t t; uint64_t u; int mode = atoi(argv[1]);
	setvbuf(stdout, 0, _IOLBF, 0);
	if (setuid(65534)) return 1;
	if (setup(mode ? IORING_SETUP_SQPOLL : 0)) return 1;
	int uf = syscall(SYS_userfaultfd, O_CLOEXEC);
	struct uffdio_api api = { .api = UFFD_API };
	missing = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register r = { .range = { (unsigned long)missing, 65536 }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	if (uf < 0 || ioctl(uf, UFFDIO_API, &api) || ioctl(uf, UFFDIO_REGISTER, &r)) { perror("userfaultfd"); return 1; }
	w = open("/dev/mmwatch", O_RDONLY);
	struct mmwatch_watch a = { 0, 0, 0 };
	if (w < 0 || ioctl(w, MMWATCH_WATCH, &a)) { perror("watch"); return 1; }
	for (int i = 0; i < 5; i++) munmap(mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0), 4096);
	usleep(100000);
	pthread_create(&t, 0, reads, 0);
	usleep(200000);
	struct sigaction sa = { .sa_handler = ring_bell };
	sigaction(SIGALRM, &sa, 0);
	alarm(5);
	double b = now();
	submit(IORING_OP_READ, w, buf[1], 65536, 0, 1, 0, 0);
	double e = now() - b;
	int64_t x = take(&u, 50);
	printf("io_uring_enter() of the read took %.1f s, result %lld\n", e, (long long)x);
	/* An unrelated request of the same ring. */
	submit(IORING_OP_NOP, -1, 0, 0, 0, 2, 0, 0);
	do x = take(&u, 2000); while (x != -100000 && u != 2);
	printf("a NOP: %lld\n", (long long)x);
	if (e > 2) printf("BAD a submission of io_uring waits in read_iter, for %.1f s\n", e);
	if (x == -100000) puts("BAD the submission thread waits in read_iter");
	puts("done");
	return 0;
}
