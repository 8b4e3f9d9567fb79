// SPDX-License-Identifier: GPL-2.0
/* Calls nested.ko, while another thread invalidates the ranges of both notifiers together. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
static char *p;
static void *churn(void *a)
{
	for (;;) { memset(p, 1, 16 * 4096); madvise(p, 16 * 4096, MADV_DONTNEED); usleep(100); }
}
int main(void)
{
	pthread_t t;
	int d = open("/dev/nested", O_RDWR);
	p = mmap(0, 16 * 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (d < 0 || ioctl(d, 0x101, p)) { perror("nested"); return 1; }
	pthread_create(&t, 0, churn, 0);
	if (ioctl(d, 0x102, p)) perror("ioctl");
	_exit(0);
}
