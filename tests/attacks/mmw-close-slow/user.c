// SPDX-License-Identifier: GPL-2.0
/*
 * Opens a device thousands of times, and waits to be killed.
 *
 * If the release of each file waited for a grace period of RCU, the process would take a minute to
 * exit, and could not be killed meanwhile.
 *
 * A sound driver does not wait in release(): the process exits within seconds.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	int n = atoi(argv[2]), i;
	struct rlimit l = { n + 16, n + 16 };
	if (setrlimit(RLIMIT_NOFILE, &l)) perror("rlimit");
	if (setuid(65534)) return 1;
	for (i = 0; i < n; i++) if (open(argv[1], O_RDWR) < 0) { perror("open"); break; }
	printf("opened %d\n", i); fflush(stdout);
	pause();
}
