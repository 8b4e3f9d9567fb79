// SPDX-License-Identifier: GPL-2.0
/*
 * Adds a file of mmwatch.ko to an epoll instance before the watch begins.
 *
 * epoll registers in the wait queue of the file once, when the file is added. If poll() of the
 * driver did not register the caller while the file has no watch, epoll would not be woken by
 * later events.
 *
 * A sound driver registers the caller in each case: epoll_wait() reports the events.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <poll.h>
#include <unistd.h>
#include "mmwatch.h"
int main(void)
{
	struct mmwatch_watch w = { 0 };
	struct epoll_event e = { .events = EPOLLIN };
	int fd = open("/dev/mmwatch", O_RDONLY), ep = epoll_create1(0), n;
	if (fd < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e)) { perror("add"); return 1; }
	n = epoll_wait(ep, &e, 1, 0);
	printf("before: %d %x\n", n, n > 0 ? e.events : 0);
	if (ioctl(fd, MMWATCH_WATCH, &w)) { perror("watch"); return 1; }
	n = epoll_wait(ep, &e, 1, 100);
	printf("begun: %d %x\n", n, n > 0 ? e.events : 0);
	while (epoll_wait(ep, &e, 1, 50) > 0) { char b[65536]; read(fd, b, sizeof b); }
	for (int i = 0; i < 100; i++) { char *p = mmap(0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); *p = 1; munmap(p, 4096); }
	n = epoll_wait(ep, &e, 1, 5000);
	struct pollfd p = { fd, POLLIN };
	int m = poll(&p, 1, 0);
	printf("events: epoll %d, poll %d %x\n", n, m, p.revents);
	puts(n == 1 ? "GOOD" : "LOST");
	return 0;
}
