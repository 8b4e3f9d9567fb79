// SPDX-License-Identifier: GPL-2.0
/*
 * Two threads read evicted addresses from rust_registration_cache.ko. The buffer of the first one
 * is memory that userfaultfd does not provide, and is then unmapped.
 *
 * The first read puts the address back and fails with EFAULT. A sound sample wakes the second
 * read, and poll(): there is an address to be read.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static int fd;
static volatile int second_done, first_errno, poll_result = -1;
static volatile uint64_t got;
static void *first(void *page) { int n = read(fd, page, 8); first_errno = n < 0 ? errno : 0; printf("first: %d %s\n", n, strerror(first_errno)); return 0; }
static void *second(void *a) { uint64_t v = 0; int n = read(fd, &v, 8); got = v; printf("second: %d %lx\n", n, (long)v); second_done = 1; return a; }
static void *poller(void *a) { struct pollfd p = { fd, POLLIN }; poll_result = poll(&p, 1, 8000); printf("poll: %d %x\n", poll_result, p.revents); return a; }
int main(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	char *page = mmap(0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *memory = mmap(0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t range[2] = { (uintptr_t)memory, 4096 };
	pthread_t a, b, c;
	fd = open("/dev/rust-registration-cache", O_RDWR);
	if (fd < 0 || uffd < 0 || ioctl(uffd, UFFDIO_API, &api)) { perror("setup"); return 1; }
	reg.range.start = (uintptr_t)page; reg.range.len = 4096;
	if (ioctl(uffd, UFFDIO_REGISTER, &reg)) { perror("register"); return 1; }
	*memory = 1;
	if (write(fd, range, 16) != 16) { perror("write"); return 1; }
	pthread_create(&a, 0, first, page); sleep(1);
	madvise(memory, 4096, MADV_DONTNEED); sleep(1);
	/* The first read has taken the address, and waits for its buffer. */
	pthread_create(&b, 0, second, 0); pthread_create(&c, 0, poller, 0); sleep(1);
	munmap(page, 4096);
	/* Wakes the fault, which finds no memory. */
	struct uffdio_range wake = { (uintptr_t)page, 4096 }; ioctl(uffd, UFFDIO_WAKE, &wake);
	pthread_join(a, 0);
	for (int i = 0; i < 50 && !second_done; i++) usleep(100000);
	struct pollfd p = { fd, POLLIN };
	printf("SUM first %s, second %s after 5 s, poll that waits %d, poll now %x\n", strerror(first_errno), second_done ? "done" : "asleep", poll_result, poll(&p, 1, 0) > 0 ? p.revents : 0);
	fflush(stdout);
	_exit(0);
}
