/* SPDX-License-Identifier: GPL-2.0 */
/* One ring of io_uring by system calls, for attacks that use the devices in this way. */
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

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
