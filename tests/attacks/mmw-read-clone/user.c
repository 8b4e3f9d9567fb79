// SPDX-License-Identifier: GPL-2.0
/*
 * Reads events of mmwatch.ko into memory with unserved page faults (userfaultfd), and ends
 * the watch.
 *
 * If mmwatch copied the events with the lock of the queue held, the reader would hold the
 * lock as long as the page is missing. The thread of the watch would wait for the lock, and
 * MMWATCH_UNWATCH for the thread.
 *
 * A sound driver copies without the lock: the process can be killed while the reader, which
 * shares its memory, still waits.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <linux/userfaultfd.h>
#include "mmwatch.h"
static int d; static char *unserved;
static int reader(void *a) { ssize_t n = read(d, unserved, 4096); printf("read %zd\n", n); return 0; }
int main(int argc, char **argv)
{
	struct mmwatch_watch w = { 0, 0, 0 };
	int u = syscall(SYS_userfaultfd, O_CLOEXEC);
	struct uffdio_api api = { UFFD_API, 0 };
	unserved = mmap(0, 4096, 3, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);
	struct uffdio_register r = { { (unsigned long)unserved, 4096 }, UFFDIO_REGISTER_MODE_MISSING };
	if (u < 0 || ioctl(u, UFFDIO_API, &api) || ioctl(u, UFFDIO_REGISTER, &r)) { perror("uffd"); return 1; }
	d = open("/dev/mmwatch", O_RDONLY);
	if (d < 0 || ioctl(d, MMWATCH_WATCH, &w)) { perror("watch"); return 1; }
	munmap(mmap(0, 4096, 3, MAP_PRIVATE|MAP_ANONYMOUS|MAP_POPULATE, -1, 0), 4096);
	char *s = mmap(0, 65536, 3, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);
	int c = clone(reader, s + 65536, CLONE_VM|CLONE_FILES|SIGCHLD, 0);
	printf("reader %d\n", c); fflush(stdout);
	sleep(2);
	munmap(mmap(0, 4096, 3, MAP_PRIVATE|MAP_ANONYMOUS|MAP_POPULATE, -1, 0), 4096);
	sleep(1);
	ioctl(d, MMWATCH_UNWATCH); printf("unwatched\n"); fflush(stdout);
	pause();
}
