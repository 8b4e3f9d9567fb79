// SPDX-License-Identifier: GPL-2.0
/* user PID: passes the pid of a stopped task to waitksmd.ko, and lets KSM merge pages. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	int fd = open("/dev/waitksmd", O_RDWR), size = 64 * 4096;
	char *p = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(p, 7, size);
	if (ioctl(fd, 0xBB01, atol(argv[1]))) { perror("ioctl"); return 1; }
	if (madvise(p, size, MADV_MERGEABLE)) { perror("madvise"); return 1; }
	close(fd);
	for (;;) pause();
}
