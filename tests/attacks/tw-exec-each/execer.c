// SPDX-License-Identifier: GPL-2.0
/* Executes itself again and again, by different threads. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int count;
static char *self;

static void *again(void *data)
{
	char text[16];

	usleep(3000 + rand() % 30000);
	sprintf(text, "%d", count + 1);
	execl(self, self, text, NULL);
	return data;
}

static void *spins(void *data)
{
	for (volatile long i = 0;; i++)
		;
	return data;
}

static void *sleeps(void *data)
{
	for (;;)
		usleep(1000);
	return data;
}

static void *ends(void *data)
{
	usleep(2000);
	return data;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	self = argv[0];
	count = argc > 1 ? atoi(argv[1]) : 0;
	srand(count);
	pthread_create(&thread, NULL, sleeps, NULL);
	pthread_create(&thread, NULL, ends, NULL);
	if (count % 2)
		pthread_create(&thread, NULL, spins, NULL);
	if (count % 3 == 0)
		again(NULL);
	pthread_create(&thread, NULL, again, NULL);
	if (count % 3 == 1)
		pthread_exit(NULL);
	for (;;)
		pause();
}
