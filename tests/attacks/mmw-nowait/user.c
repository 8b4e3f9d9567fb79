// SPDX-License-Identifier: GPL-2.0
/* Reads and polls the samples' devices by io_uring: in io-wq threads, by SQPOLL, and multishot. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
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
