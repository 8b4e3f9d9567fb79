// SPDX-License-Identifier: GPL-2.0
/*
 * Maps the counters of mmwatch.ko after a range was rejected.
 *
 * Counters can only be created before the first range is added; otherwise mmap() fails with
 * EBUSY. If a rejected range counted as the first range, a process could not map counters any
 * more.
 *
 * A sound driver ignores a rejected range: mmap() succeeds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "mmwatch.h"
int main(void)
{
	struct mmwatch_watch w = { 0, MMWATCH_RANGES, 0 };
	struct mmwatch_range r = { 0x1000000, 0, 0, 0, 0, 0 };
	int fd = open("/dev/mmwatch", O_RDONLY);
	if (fd < 0 || ioctl(fd, MMWATCH_WATCH, &w)) { perror("watch"); return 1; }
	int a = ioctl(fd, MMWATCH_ADD_RANGE, &r);
	printf("an empty range: %d %s\n", a, strerror(errno));
	void *p = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0);
	printf("counters: %s\n", p == MAP_FAILED ? strerror(errno) : "mapped");
	r.length = 4096;
	if (p != MAP_FAILED) puts("GOOD"); else puts("BUSY");
	return 0;
}
