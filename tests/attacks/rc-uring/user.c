// SPDX-License-Identifier: GPL-2.0
/* Reads and polls the samples' devices by io_uring: in io-wq threads, by SQPOLL, and multishot. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
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
static int ring; static struct io_uring_params par; static char *sq, *cq; static struct io_uring_sqe *sqes;
static unsigned *S(unsigned o) { return (unsigned *)(sq + o); }
static int setup(unsigned flags)
{
	memset(&par, 0, sizeof par);
	par.flags = flags; par.sq_thread_idle = 50;
	ring = syscall(SYS_io_uring_setup, 64, &par);
	if (ring < 0) { perror("io_uring_setup"); return 1; }
	sq = mmap(0, par.sq_off.array + par.sq_entries * 4 + 65536, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	cq = mmap(0, par.cq_off.cqes + par.cq_entries * 16, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	sqes = mmap(0, par.sq_entries * 64, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	return sq == MAP_FAILED || cq == MAP_FAILED || sqes == MAP_FAILED;
}
static void submit(int op, int fd, void *buf, unsigned len, uint64_t off, uint64_t user, unsigned sflags, unsigned opflags)
{
	unsigned tail = *S(par.sq_off.tail), i = tail & (par.sq_entries - 1);
	struct io_uring_sqe *e = &sqes[i];
	memset(e, 0, sizeof *e);
	e->opcode = op; e->fd = fd; e->addr = (uint64_t)buf; e->len = len; e->off = off; e->user_data = user; e->flags = sflags; e->rw_flags = opflags;
	S(par.sq_off.array)[i] = i;
	__atomic_store_n(S(par.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
	unsigned f = par.flags & IORING_SETUP_SQPOLL ? IORING_ENTER_SQ_WAKEUP : 0;
	syscall(SYS_io_uring_enter, ring, 1, 0, f, 0, 0);
}
static int64_t take(uint64_t *user, int ms)
{
	struct timespec t = { 0, 1000000 };
	for (int i = 0; i < ms; i++) {
		unsigned head = *(unsigned *)(cq + par.cq_off.head);
		if (head != __atomic_load_n((unsigned *)(cq + par.cq_off.tail), __ATOMIC_ACQUIRE)) {
			struct io_uring_cqe *c = (struct io_uring_cqe *)(cq + par.cq_off.cqes) + (head & (par.cq_entries - 1));
			int64_t r = c->res; *user = c->user_data;
			__atomic_store_n((unsigned *)(cq + par.cq_off.head), head + 1, __ATOMIC_RELEASE);
			return r;
		}
		syscall(SYS_io_uring_enter, ring, 0, 0, IORING_ENTER_GETEVENTS, 0, 0);
		nanosleep(&t, 0);
	}
	return -100000;
}
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
