// SPDX-License-Identifier: GPL-2.0
/*
 * Maps a page at a fixed address, loads the module, and keeps its address space for 40
 * seconds.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
int main(int c, char **v){ char *p = mmap((void*)0x10000000, 4096, 3, MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED, -1, 0); p[0]=1;
 int f = open(v[1], O_RDONLY); if (syscall(SYS_finit_module, f, "", 0)) { perror("finit_module"); return 1; } puts("loaded"); fflush(stdout); sleep(40); return 0; }
