// SPDX-License-Identifier: GPL-2.0
/*
 * Opens a misc device that registers a notifier in open(), while the mmap_lock cannot be
 * taken for writing.
 *
 * A read of /proc/self/mem holds the mmap_lock: its page is in a file of a FUSE server that
 * does not answer. Registration::new() needs the lock for writing, and misc_open() holds the
 * mutex of all misc devices. Without a limit, no process could open a misc device until this
 * process is killed.
 *
 * A sound library limits the wait in open(): other processes can open misc devices and load
 * modules.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <errno.h>
#include <sys/prctl.h>
#include <sys/mman.h>
#include <unistd.h>
static char *p;
static void *peek(void *a) { char c; int f = open("/proc/self/mem", O_RDONLY); dprintf(1, "peek %d %zd\n", f, pread(f, &c, 1, (off_t)p)); return 0; }
int main(int argc, char **argv)
{
	pthread_t t;
	int m = open("/proc/self/mem", O_RDONLY); close(m);
	if (argc > 2 && setuid(65534)) return 1;
	prctl(PR_SET_DUMPABLE, 1);
	int f = open(argv[1], O_RDONLY); p = mmap(0, 4096, PROT_READ, MAP_SHARED, f, 0);
	if (p == MAP_FAILED) { perror("mmap"); return 1; }
	pthread_create(&t, 0, peek, 0);
	sleep(2);
	write(1, "opening\n", 8);
	int d = open("/dev/rust-mmu-notifier", O_RDONLY);
	dprintf(1, "open: %d %s\n", d, strerror(errno));
	pause();
}
