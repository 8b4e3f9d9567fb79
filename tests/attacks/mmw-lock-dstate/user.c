// SPDX-License-Identifier: GPL-2.0
/*
 * Polls a file of mmwatch.ko while MMWATCH_WATCH waits for the mmap_lock.
 *
 * A read of /proc/self/mem holds the mmap_lock of the process, and waits for a page that a FUSE
 * server does not serve. The process then begins a watch of itself. A child, which has nothing but
 * the file, polls it. If MMWATCH_WATCH held a lock of the file while it waits, the child could not
 * be killed.
 *
 * A sound driver holds no lock there: the poll returns.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "mmwatch.h"
static char *p;
static void *peek(void *a) { char c; int f = open("/proc/self/mem", O_RDONLY); dprintf(1, "peek %d %zd\n", f, pread(f, &c, 1, (off_t)p)); return 0; }
int main(int argc, char **argv)
{
	pthread_t t; struct mmwatch_watch w = { 0 };
	if (setuid(65534)) return 1;
	prctl(PR_SET_DUMPABLE, 1);
	int d = open("/dev/mmwatch", O_RDONLY);
	if (d < 0) { perror("open"); return 1; }
	int pid = fork();
	if (!pid) { sleep(6); struct pollfd q = { d, POLLIN }; dprintf(1, "polls\n"); int n = poll(&q, 1, 0); dprintf(1, "polled %d %x\n", n, q.revents); pause(); }
	dprintf(1, "child %d\n", pid);
	int f = open(argv[1], O_RDONLY); p = mmap(0, 4096, PROT_READ, MAP_SHARED, f, 0);
	if (p == MAP_FAILED) { perror("mmap"); return 1; }
	pthread_create(&t, 0, peek, 0);
	sleep(2);
	write(1, "watching\n", 9);
	int r = ioctl(d, MMWATCH_WATCH, &w);
	dprintf(1, "watch: %d %s\n", r, strerror(errno));
	pause();
}
