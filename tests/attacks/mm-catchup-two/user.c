// SPDX-License-Identifier: GPL-2.0
/* Maps 20000 pages and passes their address to catchtwo.ko. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
int main(void)
{
	int d = open("/dev/catchtwo", O_RDWR);
	char *p = mmap(0, 20000UL * 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	p[0] = 1;
	int r = ioctl(d, 1, p);
	if (r) perror("ioctl");
	return r != 0;
}
