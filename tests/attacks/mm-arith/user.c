// SPDX-License-Identifier: GPL-2.0
/* Calls arith.ko on three pages, while another thread zaps and protects the first page. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
static char *p;
static void *churn(void *a) { for (;;) { madvise(p, 4096, MADV_DONTNEED); mprotect(p, 4096, 1); mprotect(p, 4096, 3); usleep(300); } }
int main(void)
{
	pthread_t t; int d = open("/dev/arith", O_RDWR);
	p = mmap(0, 3 * 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* Map the lowest page and the highest page of the address space as well. */
	if (mmap((void *)0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) perror("at 0");
	if (mmap((void *)0x7fffffffe000, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) perror("at the end");
	memset(p, 1, 3 * 4096);
	pthread_create(&t, 0, churn, 0);
	int r = ioctl(d, 1, p);
	if (r) perror("ioctl");
	_exit(r != 0);
}
