// SPDX-License-Identifier: GPL-2.0
/* Unmaps a large mapping, which takes long. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
int main(void)
{
	size_t size = 200 << 20; int d = open("/dev/rangeends", O_RDWR);
	char *p = mmap(0, size, 3, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);
	madvise(p, size, MADV_NOHUGEPAGE);
	memset(p, 1, size);
	if (ioctl(d, 0xbb01, 0)) { perror("ioctl"); return 1; }
	usleep(200000);
	madvise(p, size, MADV_DONTNEED);
	usleep(500000);
	return 0;
}
