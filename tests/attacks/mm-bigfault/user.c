// SPDX-License-Identifier: GPL-2.0
/*
 * Maps 16 GiB of memory and lets the driver look up all pages, with a limit in ms (0: no
 * limit).
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ioctl.h>
#include <fcntl.h>
int main(int c, char **v){ size_t n = 16ul << 30; int d = open("/dev/bigfault", O_RDWR);
 char *p = mmap(0, n, 1, MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE, -1, 0); if (p == MAP_FAILED || d < 0) { perror("x"); return 1; }
 madvise(p, n, MADV_NOHUGEPAGE);
 int r = ioctl(d, atoi(v[1]), p); perror("ioctl"); return r != 0; }
