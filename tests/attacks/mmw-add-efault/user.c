// SPDX-License-Identifier: GPL-2.0
/*
 * MMWATCH_ADD_RANGE stores its result in memory that userfaultfd withholds. Meanwhile another
 * thread ends the watch, begins another one, and adds a range. Then the memory is unmapped.
 *
 * The first call fails with EFAULT, and removes the range of its index. A sound driver removes
 * only the range that the call has added.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "mmwatch.h"
static int fd;
static char *area;
static volatile int done, error;
static void *adds(void *page) { error = ioctl(fd, MMWATCH_ADD_RANGE, page) ? errno : 0; done = 1; return 0; }
int main(void)
{
	struct mmwatch_watch w = { 0, MMWATCH_RANGES, 0 };
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect wp = { .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	char *page = mmap(0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	area = mmap(0, 8192, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(area, 1, 8192);
	pthread_t t;
	fd = open("/dev/mmwatch", O_RDONLY);
	if (fd < 0 || uffd < 0 || ioctl(uffd, UFFDIO_API, &api)) { perror("setup"); return 1; }
	*(struct mmwatch_range *)page = (struct mmwatch_range){ (uintptr_t)area, 4096, 1, 0, 0, 0 };
	reg.range.start = wp.range.start = (uintptr_t)page; reg.range.len = wp.range.len = 4096;
	if (ioctl(uffd, UFFDIO_REGISTER, &reg) || ioctl(uffd, UFFDIO_WRITEPROTECT, &wp)) { perror("uffd"); return 1; }
	if (ioctl(fd, MMWATCH_WATCH, &w)) { perror("watch"); return 1; }
	pthread_create(&t, 0, adds, page); sleep(1);
	if (done) { printf("not withheld: %d\n", error); return 1; }
	if (ioctl(fd, MMWATCH_UNWATCH) || ioctl(fd, MMWATCH_WATCH, &w)) { perror("again"); return 1; }
	volatile unsigned long *counters = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0);
	if (counters == MAP_FAILED) { perror("mmap"); return 1; }
	struct mmwatch_range r = { (uintptr_t)area + 4096, 4096, 2, 0, 0, 0 };
	if (ioctl(fd, MMWATCH_ADD_RANGE, &r)) { perror("add"); return 1; }
	unsigned long before = counters[r.index];
	munmap(page, 4096);
	struct uffdio_range wake = { (uintptr_t)page, 4096 }; ioctl(uffd, UFFDIO_WAKE, &wake);
	pthread_join(t, 0);
	unsigned long after = counters[r.index];
	int removed = ioctl(fd, MMWATCH_REMOVE_RANGE, r.index) ? errno : 0;
	printf("SUM ADD_RANGE of the old watch: %s; index %u of the new watch: counter %lu, then %lu; REMOVE_RANGE: %s\n", strerror(error), r.index, before, after, strerror(removed));
	return 0;
}
