// SPDX-License-Identifier: GPL-2.0
/*
 * Maps and unmaps a page of memfd_secret() in a loop, while a thread looks the page up for a
 * device (rust_hmm_mirror.ko).
 *
 * A look-up finds the page first, and checks its VMA for secret memory later. munmap()
 * removes the VMA and downgrades the mmap_lock before it invalidates the range, so that in
 * between the page is there and the VMA is not. The process needs no privileges.
 *
 * A sound library refuses a page without a VMA: each read of the page fails, and no secret is
 * read.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
struct cmd { uint64_t addr, ptr, npages, cpages, faults; };
#define READ_UNLOCKED _IOWR('H', 9, struct cmd)
#define BIG 4096ul
static int first, last, secret;
static char *const at = (char *)0x30000000, *big, *big2;
static volatile unsigned long rounds, reads, errors[200];
static void place(int cpu, int policy, int nice_)
{
	cpu_set_t s; struct sched_param p = { 0 };
	CPU_ZERO(&s); CPU_SET(cpu, &s); sched_setaffinity(0, sizeof s, &s);
	if (policy) sched_setscheduler(0, policy, &p);
	setpriority(PRIO_PROCESS, 0, nice_);
}
static void *hog(void *a) { place(0, 0, 0); for (;;) ; }
static void *holder(void *a)
{
	place(0, 0, 19);
	for (;;) { struct cmd c = { (uintptr_t)big, (uintptr_t)big2, BIG }; if (ioctl(first, READ_UNLOCKED, &c)) perror("holder"), exit(1); }
}
static void *reader(void *a)
{
	static char buf[4096];
	place(1, SCHED_IDLE, 19);
	for (;;) {
		struct cmd c = { (uintptr_t)at, (uintptr_t)buf, 1 };
		if (!ioctl(last, READ_UNLOCKED, &c)) { printf("READ SECRET %.6s\n", buf); fflush(stdout); }
		else errors[errno]++;
		reads++;
	}
}
int main(int argc, char **argv)
{
	pthread_t t; int seconds = atoi(argv[1]);
	if (setuid(65534)) return 1;
	big = mmap(0, BIG * 4096, 3, MAP_PRIVATE|MAP_ANONYMOUS|MAP_POPULATE, -1, 0);
	big2 = mmap(0, BIG * 4096, 3, MAP_PRIVATE|MAP_ANONYMOUS|MAP_POPULATE, -1, 0);
	first = open("/dev/hmm_dmirror0", O_RDWR); last = open("/dev/hmm_dmirror0", O_RDWR);
	secret = syscall(447, 0);
	if (first < 0 || last < 0 || secret < 0 || ftruncate(secret, 4096)) { perror("setup"); return 1; }
	pthread_create(&t, 0, hog, 0); pthread_create(&t, 0, holder, 0); pthread_create(&t, 0, reader, 0);
	place(1, 0, 0);
	for (time_t end = time(0) + seconds; time(0) < end; rounds++) {
		char *p = mmap(at, 4096, 3, MAP_SHARED|MAP_FIXED, secret, 0);
		if (p != at) { perror("mmap"); return 1; }
		memcpy(p, "SECRET", 6);
		usleep(300 + rand() % 3000);
		munmap(at, 4096);
		if (rounds % 500 == 0) { printf("rounds %lu reads %lu efault %lu enomem %lu\n", rounds, reads, errors[EFAULT], errors[ENOMEM]); fflush(stdout); }
	}
	printf("rounds %lu reads %lu efault %lu\n", rounds, reads, errors[EFAULT]);
	exit(0);
}
