// SPDX-License-Identifier: GPL-2.0
/*
 * Opens the device of rust_interval_notifier.ko many times, and writes a range of 1 GiB to each
 * file, in a memory cgroup with a limit of 32 MiB.
 *
 * The driver allocates 24 bytes for each page of the range, 6 MiB for each file. If the memory
 * were not charged, a user could exceed the limit of the cgroup.
 *
 * A sound driver allocates with GFP_KERNEL_ACCOUNT: the limit applies.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	int n, count = atoi(argv[1]);
	if (setuid(65534)) return 1;
	for (n = 0; n < count; n++) {
		uint64_t range[2] = { 0x100000000ULL, 1 << 30 };
		int d = open("/dev/rust-interval-notifier", O_RDWR);
		if (d < 0 || write(d, range, 16) != 16) { perror("rust-interval-notifier"); break; }
	}
	printf("%d files\n", n);
	fflush(stdout);
	sleep(10);
	return 0;
}
