// SPDX-License-Identifier: GPL-2.0
/* Task works, as processes see them. Needs the modules tether and tether_test. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "tether_test.h"

static int add_from(int fd, int tid, unsigned int mode, unsigned int kind)
{
	struct tether_test_add argument = { .tid = tid, .mode = mode, .kind = kind };

	return ioctl(fd, TETHER_TEST_ADD, &argument) ? -errno : 0;
}

static struct tether_test_counts counts_of(int fd)
{
	struct tether_test_counts counts;

	if (ioctl(fd, TETHER_TEST_COUNTS, &counts))
		_exit(99);
	return counts;
}

static void nap(long milliseconds)
{
	struct timespec time = { .tv_sec = milliseconds / 1000,
				 .tv_nsec = milliseconds % 1000 * 1000000 };

	nanosleep(&time, NULL);
}

FIXTURE(work)
{
	int fd;
	struct tether_test_counts before;
};

FIXTURE_SETUP(work)
{
	self->fd = open("/dev/tether-test", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->before = counts_of(self->fd);
}

FIXTURE_TEARDOWN(work)
{
	struct tether_test_counts now = counts_of(self->fd);

	/* Whatever a test did: each payload was dropped once, and ran where it was meant to. */
	EXPECT_EQ(now.made - self->before.made, now.dropped - self->before.dropped);
	EXPECT_EQ(self->before.ran_in_wrong_task, now.ran_in_wrong_task);
	close(self->fd);
}

/* What is queued on oneself has run when the system call returns. */
TEST_F(work, self_resume)
{
	unsigned int kind;

	for (kind = TETHER_TEST_BOX; kind <= TETHER_TEST_CLOSURE; kind++) {
		struct tether_test_counts before = counts_of(self->fd), after;

		ASSERT_EQ(0, add_from(self->fd, 0, TETHER_TEST_RESUME, kind));
		after = counts_of(self->fd);
		EXPECT_EQ(before.ran + 1, after.ran);
		EXPECT_EQ(before.dropped + 1, after.dropped);
		EXPECT_EQ(before.ran_exiting, after.ran_exiting);
	}
}

TEST_F(work, self_every_mode)
{
	int round;

	for (round = 0; round < 1000; round++)
		ASSERT_EQ(0, add_from(self->fd, 0, TETHER_TEST_RESUME + round % 3, round % 3));
	EXPECT_EQ(self->before.ran + 1000, counts_of(self->fd).ran);
}

/* Mode none waits for something else that makes the task look. */
TEST_F(work, self_none)
{
	ASSERT_EQ(0, add_from(self->fd, 0, TETHER_TEST_NONE, TETHER_TEST_BOX));
	EXPECT_EQ(self->before.ran, counts_of(self->fd).ran);
	ASSERT_EQ(0, add_from(self->fd, 0, TETHER_TEST_RESUME, TETHER_TEST_BOX));
	EXPECT_EQ(self->before.ran + 2, counts_of(self->fd).ran);
}

TEST_F(work, bad_input)
{
	struct tether_test_add argument = { .mode = 99 };

	EXPECT_EQ(-1, ioctl(self->fd, TETHER_TEST_ADD, &argument));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(self->fd, TETHER_TEST_ADD, (void *)8));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, ioctl(self->fd, _IO(0xB9, 99)));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-ESRCH, add_from(self->fd, 0x3fffff, TETHER_TEST_RESUME, TETHER_TEST_BOX));
}

/* A shared item can be pending once; the reference of the second time comes back. */
TEST_F(work, shared_twice)
{
	EXPECT_EQ(-EBUSY, add_from(self->fd, 0, TETHER_TEST_RESUME, TETHER_TEST_TWICE));
	EXPECT_EQ(self->before.ran + 1, counts_of(self->fd).ran);
}

/* One that adds itself again would never let its task out of the kernel. */
TEST_F(work, requeue_from_callback)
{
	ASSERT_EQ(0, add_from(self->fd, 0, TETHER_TEST_RESUME, TETHER_TEST_REQUEUE));
	EXPECT_EQ(self->before.ran + 1, counts_of(self->fd).ran);
	EXPECT_EQ(-EBUSY, counts_of(self->fd).requeue_error);
}

/* kthreadd: it would run the work when it ends, which is never. */
TEST_F(work, kernel_thread)
{
	unsigned int kind;

	for (kind = TETHER_TEST_BOX; kind <= TETHER_TEST_CLOSURE; kind++)
		EXPECT_EQ(-EINVAL, add_from(self->fd, 2, TETHER_TEST_RESUME, kind));
	EXPECT_EQ(self->before.ran, counts_of(self->fd).ran);
}

struct other {
	int tid;
	int pipe[2];
	int result;
	volatile int spin;
	volatile int ready;
};

static void *sleeps(void *data)
{
	struct other *other = data;
	char byte;

	other->tid = syscall(SYS_gettid);
	other->ready = 1;
	other->result = read(other->pipe[0], &byte, 1) == 1 ? 0 : -errno;
	return NULL;
}

static void *spins(void *data)
{
	struct other *other = data;

	other->tid = syscall(SYS_gettid);
	other->ready = 1;
	while (other->spin)
		;
	return NULL;
}

static void wait_ready(struct other *other)
{
	while (!other->ready)
		nap(1);
	nap(50);
}

static int wait_ran(int fd, __s64 ran)
{
	int tries;

	for (tries = 0; tries < 2000; tries++) {
		if (counts_of(fd).ran >= ran)
			return 1;
		nap(1);
	}
	return 0;
}

/* Resume mode leaves a sleeper alone; it runs the work when it wakes. */
TEST_F(work, other_sleeping_resume)
{
	struct other other = {};
	pthread_t thread;

	ASSERT_EQ(0, pipe(other.pipe));
	ASSERT_EQ(0, pthread_create(&thread, NULL, sleeps, &other));
	wait_ready(&other);
	ASSERT_EQ(0, add_from(self->fd, other.tid, TETHER_TEST_RESUME, TETHER_TEST_ARC));
	nap(100);
	EXPECT_EQ(self->before.ran, counts_of(self->fd).ran);
	ASSERT_EQ(1, write(other.pipe[1], "x", 1));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, other.result);
	EXPECT_EQ(self->before.ran + 1, counts_of(self->fd).ran);
}

/* Signal mode interrupts the sleep; a read goes on by itself, nothing is lost. */
TEST_F(work, other_sleeping_signal)
{
	struct other other = {};
	pthread_t thread;

	ASSERT_EQ(0, pipe(other.pipe));
	ASSERT_EQ(0, pthread_create(&thread, NULL, sleeps, &other));
	wait_ready(&other);
	ASSERT_EQ(0, add_from(self->fd, other.tid, TETHER_TEST_SIGNAL, TETHER_TEST_CLOSURE));
	EXPECT_TRUE(wait_ran(self->fd, self->before.ran + 1));
	ASSERT_EQ(1, write(other.pipe[1], "x", 1));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, other.result);
}

/* A thread in user space is made to enter the kernel. */
TEST_F(work, other_running)
{
	struct other other = { .spin = 1 };
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, spins, &other));
	wait_ready(&other);
	ASSERT_EQ(0, add_from(self->fd, other.tid, TETHER_TEST_RESUME, TETHER_TEST_BOX));
	EXPECT_TRUE(wait_ran(self->fd, self->before.ran + 1));
	ASSERT_EQ(0, add_from(self->fd, other.tid, TETHER_TEST_SIGNAL, TETHER_TEST_BOX));
	EXPECT_TRUE(wait_ran(self->fd, self->before.ran + 2));
	other.spin = 0;
	pthread_join(thread, NULL);
}

/* Exit with work pending: it runs in the dying task, which has no address space any more. */
TEST_F(work, exit_with_work_pending)
{
	struct tether_test_counts after;
	int status;
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (child == 0) {
		add_from(self->fd, 0, TETHER_TEST_NONE, TETHER_TEST_BOX);
		add_from(self->fd, 0, TETHER_TEST_NONE, TETHER_TEST_CLOSURE);
		_exit(0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	after = counts_of(self->fd);
	EXPECT_EQ(self->before.ran + 2, after.ran);
	EXPECT_EQ(self->before.ran_exiting + 2, after.ran_exiting);
	EXPECT_EQ(self->before.ran_without_mm + 2, after.ran_without_mm);
}

/* Killed while it sleeps with work pending (CVE-2024-43870). */
TEST_F(work, killed_with_work_pending)
{
	int status;
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (child == 0) {
		pause();
		_exit(0);
	}
	nap(50);
	ASSERT_EQ(0, add_from(self->fd, child, TETHER_TEST_RESUME, TETHER_TEST_ARC));
	EXPECT_EQ(self->before.ran, counts_of(self->fd).ran);
	kill(child, SIGKILL);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(self->before.ran + 1, counts_of(self->fd).ran);
}

/* A zombie takes no more work: the item comes back. */
TEST_F(work, zombie)
{
	int status;
	pid_t child = fork();
	siginfo_t info;
	unsigned int kind;

	ASSERT_LE(0, child);
	if (child == 0)
		_exit(0);
	ASSERT_EQ(0, waitid(P_PID, child, &info, WEXITED | WNOWAIT));
	for (kind = TETHER_TEST_BOX; kind <= TETHER_TEST_CLOSURE; kind++)
		EXPECT_EQ(-ESRCH, add_from(self->fd, child, TETHER_TEST_SIGNAL, kind));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(self->before.ran, counts_of(self->fd).ran);
}

/* Adds hammered at exiting tasks: each is run or refused (CVE-2025-38352). */
TEST_F(work, hammer_exiting)
{
	struct tether_test_counts after;
	int round, status, added = 0, refused = 0;

	for (round = 0; round < 60; round++) {
		int error = 0, tries;
		pid_t child = fork();

		ASSERT_LE(0, child);
		if (child == 0)
			_exit(0);
		for (tries = 0; tries < 500 && error != -ESRCH; tries++) {
			error = add_from(self->fd, child, tries % 4, tries % 3);
			if (error == 0)
				added++;
			else
				refused++;
			ASSERT_TRUE(error == 0 || error == -ESRCH);
		}
		ASSERT_EQ(child, waitpid(child, &status, 0));
	}
	after = counts_of(self->fd);
	EXPECT_EQ(self->before.ran + added, after.ran);
	EXPECT_EQ(self->before.made + added + refused, after.made);
	EXPECT_LT(0, refused);
}

/* An exec between adding and running: it still runs, once. */
TEST_F(work, exec_with_work_pending)
{
	int status;
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (child == 0) {
		add_from(self->fd, 0, TETHER_TEST_NONE, TETHER_TEST_BOX);
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(self->before.ran + 1, counts_of(self->fd).ran);
}

TEST_HARNESS_MAIN
