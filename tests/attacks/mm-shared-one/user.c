// SPDX-License-Identifier: GPL-2.0
/* user SECONDS: calls sharedone.ko in children with four threads each, for SECONDS. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static int d;
static void *user(void *a)
{
	unsigned s = (long)a;
	for (int i = 0; i < 60; i++) {
		ioctl(d, 0x101 + rand_r(&s) % 3, 0);
		if (rand_r(&s) % 4 == 0) { char *p = mmap(0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); *p = 1; munmap(p, 4096); }
		if (rand_r(&s) % 20 == 0) { int c = fork(); if (!c) { ioctl(d, 0x101 + rand_r(&s) % 3, 0); _exit(0); } waitpid(c, 0, 0); }
	}
	return 0;
}
int main(int argc, char **argv)
{
	time_t end = time(0) + atoi(argv[1]);
	srand(1);
	while (time(0) < end) {
		int c = fork();
		if (!c) {
			pthread_t t[4]; srand(getpid()); d = open("/dev/sharedone", O_RDWR);
			for (long i = 0; i < 4; i++) pthread_create(&t[i], 0, user, (void *)(i + getpid()));
			if (rand() % 3 == 0) { usleep(rand() % 100000); if (rand() % 2) execl("/bin/true", "true", NULL); _exit(0); }
			for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
			_exit(0);
		}
		if (rand() % 3 == 0) { usleep(rand() % 200000); int q = syscall(434, c, 0); kill(c, SIGKILL); syscall(448, q, 0); close(q); }
		waitpid(c, 0, 0);
	}
	return 0;
}
