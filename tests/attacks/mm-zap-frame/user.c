// SPDX-License-Identifier: GPL-2.0
/* Maps and writes a page and passes its address to the driver. */
#include <stdio.h>
#include <sys/mman.h>
#include <sys/ioctl.h>
#include <fcntl.h>
int main(){ int d = open("/dev/zapframe", O_RDWR); char *p = mmap(0, 8192, 3, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0); p[0]=1;
 int r = ioctl(d, 1, p); if (r) perror("ioctl"); return r != 0; }
