// SPDX-License-Identifier: GPL-2.0
/* Maps and writes two pages, passes their address to the driver, and exits. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ioctl.h>
#include <fcntl.h>
int main(){ int d = open("/dev/mmput", O_RDWR); char *p = mmap(0, 2 * 4096, 3, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0); memset(p, 1, 2 * 4096);
 int r = ioctl(d, 1, p); if (r) perror("ioctl"); return r != 0; }
