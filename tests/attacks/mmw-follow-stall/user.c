// SPDX-License-Identifier: GPL-2.0
/*
 * Kills a watcher while the process that it follows waits in its exec.
 *
 * With MMWATCH_FOLLOW, a task work registers a notifier on the new address space, which waits for
 * the mmap_lock. An accomplice of the watched process holds that lock: it reads /proc/PID/mem, at a
 * page that a FUSE server does not serve. If the task work held a lock that the end of the watch
 * takes, the watcher could not be killed.
 *
 * A sound driver holds no lock there: the watcher ends.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
#include "mmwatch.h"
int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "watched")) {
		/* Executes the program of the FUSE file system as soon as it can read a line. */
		char c; if (setuid(65534)) return 1;
		prctl(PR_SET_DUMPABLE, 1); prctl(PR_SET_PTRACER, -1);
		printf("watched %d\n", getpid()); fflush(stdout);
		read(0, &c, 1);
		execl(argv[2], "f", NULL);
		perror("exec"); return 1;
	}
	if (argc == 4 && !strcmp(argv[1], "accomplice")) {
		char c, path[64]; if (setuid(65534)) return 1;
		snprintf(path, sizeof path, "/proc/%s/mem", argv[2]);
		int f = open(path, O_RDONLY);
		if (f < 0) { perror("mem"); return 1; }
		printf("peeks\n"); fflush(stdout);
		ssize_t n = pread(f, &c, 1, strtoul(argv[3], 0, 16));
		printf("peeked %zd %s\n", n, strerror(errno)); fflush(stdout);
		return 0;
	}
	if (argc == 3 && !strcmp(argv[1], "watcher")) {
		int pid = atoi(argv[2]), d = open("/dev/mmwatch", O_RDONLY), s;
		struct mmwatch_watch w = { pid, MMWATCH_FOLLOW, 0 };
		if (ptrace(PTRACE_SEIZE, pid, 0, 0) || ptrace(PTRACE_INTERRUPT, pid, 0, 0) || waitpid(pid, &s, __WALL) != pid) { perror("trace"); return 1; }
		if (d < 0 || ioctl(d, MMWATCH_WATCH, &w)) { perror("watch"); return 1; }
		ptrace(PTRACE_DETACH, pid, 0, 0);
		puts("watches"); fflush(stdout);
		pause();
	}
	return 1;
}
