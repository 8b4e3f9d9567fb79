// SPDX-License-Identifier: GPL-2.0
/*
 * Invalidates memory at random in three threads of a process, with notifiers of twonest.ko on
 * it, and kills the process; repeats this for the given number of seconds.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#define SIZE (64 * 4096)
static char *p; static int d;
static void *churn(void *a)
{
	unsigned s = (long)a;
	for (;;) {
		unsigned i = rand_r(&s) % 60, k = rand_r(&s) % 6;
		if (k < 3) madvise(p + i * 4096, 4096 * (1 + k), MADV_DONTNEED);
		else if (k == 3) mprotect(p + i * 4096, 4096, 1), mprotect(p + i * 4096, 4096, 3);
		else if (k == 4) madvise(p + i * 4096, 4096 * 4, 8);
		else { int c = fork(); if (!c) _exit(0); waitpid(c, 0, 0); }
		((volatile char *)p)[i * 4096 + 1] = ((volatile char *)p)[i * 4096];
	}
}
int main(int argc, char **argv)
{
	time_t end = time(0) + atoi(argv[1]);
	while (time(0) < end) {
		int c = fork();
		if (!c) {
			pthread_t t; srand(getpid());
			d = open("/dev/twonest", O_RDWR); p = mmap(0, SIZE, 3, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0); memset(p, 1, SIZE);
			for (long i = 0; i < 3; i++) pthread_create(&t, 0, churn, (void *)(i + getpid()));
			for (int i = 0; i < 40; i++) { ioctl(d, 1, p); usleep(rand() % 5000); }
			if (rand() % 2) { close(d); usleep(3000); }
			if (rand() % 2) { int q = syscall(434, getpid(), 0); kill(getpid(), SIGKILL); (void)q; }
			_exit(0);
		}
		if (rand() % 3 == 0) { usleep(rand() % 100000); int q = syscall(434, c, 0); kill(c, SIGKILL); syscall(448, q, 0); close(q); }
		waitpid(c, 0, 0);
	}
	return 0;
}
