// SPDX-License-Identifier: GPL-2.0
/*
 * Opens a misc device that registers a notifier in open(), while processes that share the
 * address space hold the locks of its VMAs for reading, one after the other (MADV_FREE in a
 * loop). The argument is the number of processes.
 *
 * A registration locks each VMA for writing. If it required a moment without readers, it
 * would fail with EBUSY.
 *
 * A sound library lets the registration succeed.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
static char *big; static size_t size = 2ul << 30;
static double now(void){struct timespec t; clock_gettime(CLOCK_MONOTONIC,&t); return t.tv_sec+t.tv_nsec*1e-9;}
static int inval(void *a){ for(;;) if (madvise(big, size, MADV_FREE)) _exit(9); }
static int start(int (*f)(void*)){ char *s = mmap(0, 65536, 3, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);
	return clone(f, s + 65536, CLONE_VM|CLONE_FILES|SIGCHLD, 0); }
int main(int argc, char **argv){
	signal(SIGCHLD, SIG_IGN); int n = atoi(argv[1]);
	big = mmap(0, size, 3, MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE, -1, 0); madvise(big, size, MADV_NOHUGEPAGE); madvise(big, size, 22);
	int pids[64]; for (int i = 0; i < n; i++) pids[i] = start(inval);
	sleep(1);
	double t = now(); char *m = mmap(0, 4096, 3, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0); fflush(stdout); printf("mmap alone: %.2f s\n", now() - t);
	for (int i = 0; i < 3; i++) { t = now(); int d = open("/dev/rust-mmu-notifier", O_RDWR); printf("open: %s after %.1f s\n", d < 0 ? strerror(errno) : "ok", now() - t); fflush(stdout); }
	for (int i = 0; i < n; i++) kill(pids[i], SIGKILL);
	return 0;
}
