// SPDX-License-Identifier: GPL-2.0
/* Tests of the sample rust_each_thread, which must be loaded. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

#define DEVICE "/dev/rust-each-thread"
#define THREADS 64

struct record {
	uint32_t thread, cpu;
};

static struct record records[4096];

/* Returns the number of records, or the error. */
static int census(int fd)
{
	ssize_t ret = read(fd, records, sizeof(records));

	return ret < 0 ? -errno : ret / (ssize_t)sizeof(*records);
}

/* Returns how many of the records are of a thread. */
static int times(int count, pid_t thread)
{
	int i, found = 0;

	for (i = 0; i < count; i++)
		found += records[i].thread == (uint32_t)thread;
	return found;
}

static int over;

struct thread {
	pthread_t thread;
	pid_t id;
	int kind;
};

/* A thread that computes, sleeps, or waits in a system call. */
static void *live(void *argument)
{
	struct thread *thread = argument;
	int pipe_fds[2];
	char byte;

	if (thread->kind == 2 && pipe(pipe_fds))
		return NULL;
	__atomic_store_n(&thread->id, gettid(), __ATOMIC_RELEASE);
	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		if (thread->kind == 1)
			usleep(1000000);
		/* The work interrupts the read; it is restarted, as no handler has run. */
		if (thread->kind == 2 && fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK) == 0) {
			read(pipe_fds[0], &byte, 1);
			usleep(100);
		}
	}
	if (thread->kind == 2) {
		close(pipe_fds[0]);
		close(pipe_fds[1]);
	}
	return NULL;
}

FIXTURE(each)
{
	int fd;
};

FIXTURE_SETUP(each)
{
	self->fd = open(DEVICE, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->fd) TH_LOG("load rust_each_thread: %m");
	over = 0;
}

FIXTURE_TEARDOWN(each)
{
	close(self->fd);
}

TEST_F(each, alone)
{
	ASSERT_EQ(1, census(self->fd));
	EXPECT_EQ(gettid(), (pid_t)records[0].thread);
	EXPECT_EQ(-1, read(self->fd, records, 7));
	EXPECT_EQ(ENOSPC, errno);
}

/* Each thread has recorded itself once, in user space or in a system call. */
TEST_F(each, threads)
{
	struct thread threads[THREADS];
	int i, round, count;

	for (i = 0; i < THREADS; i++) {
		threads[i] = (struct thread){ .kind = i % 3 };
		/* A few threads that compute are enough. */
		if (threads[i].kind == 0 && i > 12)
			threads[i].kind = 1;
		ASSERT_EQ(0, pthread_create(&threads[i].thread, NULL, live, &threads[i]));
	}
	for (i = 0; i < THREADS; i++)
		while (!__atomic_load_n(&threads[i].id, __ATOMIC_ACQUIRE))
			usleep(1000);
	for (round = 0; round < 20; round++) {
		count = census(self->fd);
		ASSERT_EQ(THREADS + 1, count);
		for (i = 0; i < THREADS; i++)
			EXPECT_EQ(1, times(count, threads[i].id));
		EXPECT_EQ(1, times(count, gettid()));
	}
	__atomic_store_n(&over, 1, __ATOMIC_RELAXED);
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i].thread, NULL);
	EXPECT_EQ(1, census(self->fd));
}

static void *nothing(void *unused)
{
	return unused;
}

static void *create(void *unused)
{
	pthread_t thread;

	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		if (!pthread_create(&thread, NULL, nothing, NULL))
			pthread_join(thread, NULL);
		usleep(200);
	}
	return unused;
}

/* Threads that begin and end meanwhile. */
TEST_F(each, threads_that_come_and_go)
{
	pthread_t threads[2];
	int i, count, succeeded = 0;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, create, NULL));
	for (i = 0; i < 200; i++) {
		count = census(self->fd);
		if (count == -ETIMEDOUT)
			continue;
		ASSERT_LT(0, count);
		EXPECT_EQ(1, times(count, gettid()));
		succeeded++;
	}
	EXPECT_LT(0, succeeded);
	__atomic_store_n(&over, 1, __ATOMIC_RELAXED);
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

static void *fork_slowly(void *go)
{
	int *fds = go;
	pid_t pid = vfork();
	char byte;

	/* Until the child ends, its parent does not take works. */
	if (pid == 0) {
		read(fds[0], &byte, 1);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	return NULL;
}

/* A thread that cannot run for a while; afterwards, nothing is left of the attempt. */
TEST_F(each, thread_that_cannot_run)
{
	struct timespec begun, ended;
	pthread_t thread;
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, pthread_create(&thread, NULL, fork_slowly, fds));
	usleep(100000);
	clock_gettime(CLOCK_MONOTONIC, &begun);
	EXPECT_EQ(-ETIMEDOUT, census(self->fd));
	clock_gettime(CLOCK_MONOTONIC, &ended);
	EXPECT_LE(1, ended.tv_sec - begun.tv_sec);
	ASSERT_EQ(1, write(fds[1], "x", 1));
	pthread_join(thread, NULL);
	EXPECT_EQ(1, census(self->fd));
}

TEST_HARNESS_MAIN
