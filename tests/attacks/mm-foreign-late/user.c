// SPDX-License-Identifier: GPL-2.0
/*
 * Maps 32 pages at a fixed address, loads the module, and keeps its address space for 300
 * seconds.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <fcntl.h>
#include <unistd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
int main(int c, char **v){ char *p = mmap((void*)0x10000000, 32 * 4096, 3, MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED, -1, 0); memset(p, 1, 32 * 4096);
 int f = open(v[1], O_RDONLY); if (syscall(SYS_finit_module, f, "", 0)) { perror("finit_module"); return 1; } puts("loaded"); fflush(stdout); sleep(300); return 0; }
