// SPDX-License-Identifier: GPL-2.0
/* A process with four threads. */
#include <pthread.h>
#include <unistd.h>
static void *sleeps(void *a) { for (;;) sleep(1000); return a; }
int main(void)
{
	pthread_t t;
	for (int i = 0; i < 3; i++) pthread_create(&t, 0, sleeps, 0);
	sleeps(0);
}
