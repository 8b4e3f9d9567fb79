// SPDX-License-Identifier: GPL-2.0
/* Task works as user space sees them. Needs the modules tether and tether_test. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static int add_many(int fd, int tid, unsigned int mode, unsigned int kind, unsigned int count)
{
	struct tether_test_add argument = {
		.tid = tid, .mode = mode, .kind = kind, .count = count,
	};

	return ioctl(fd, TETHER_TEST_ADD, &argument) ? -errno : 0;
}

static int request(int fd, unsigned long command, long argument)
{
	int ret = ioctl(fd, command, argument);

	return ret < 0 ? -errno : ret;
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
	struct tether_test_counts now;
	int again = open("/dev/tether-test", O_RDWR | O_CLOEXEC);

	/* Drop the objects that the file keeps. */
	close(self->fd);
	self->fd = again;
	now = counts_of(self->fd);

	/* After each test, every payload was dropped once, and ran in its target task. */
	EXPECT_EQ(now.made - self->before.made, now.dropped - self->before.dropped);
	EXPECT_EQ(self->before.ran_in_wrong_task, now.ran_in_wrong_task);
	EXPECT_EQ(self->before.order_errors, now.order_errors);
	close(self->fd);
}

/* A work on the calling task has run when the system call returns. */
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

/* A work with mode "none" runs when the task enters task_work_run() for another reason. */
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

/* A shared item can be pending only once; the second add returns the reference. */
TEST_F(work, shared_twice)
{
	EXPECT_EQ(-EBUSY, add_from(self->fd, 0, TETHER_TEST_RESUME, TETHER_TEST_TWICE));
	EXPECT_EQ(self->before.ran + 1, counts_of(self->fd).ran);
}

/* A callback cannot add its own item: the task would never return to user space. */
TEST_F(work, requeue_from_callback)
{
	ASSERT_EQ(0, add_from(self->fd, 0, TETHER_TEST_RESUME, TETHER_TEST_REQUEUE));
	EXPECT_EQ(self->before.ran + 1, counts_of(self->fd).ran);
	EXPECT_EQ(-EBUSY, counts_of(self->fd).requeue_error);
	ASSERT_EQ(0, add_from(self->fd, 0, TETHER_TEST_RESUME, TETHER_TEST_REQUEUE_BOX));
	EXPECT_EQ(self->before.ran + 2, counts_of(self->fd).ran);
	EXPECT_EQ(-EBUSY, counts_of(self->fd).requeue_error);
}

/* A callback can add a new item, even in the memory of the old one. */
TEST_F(work, chain)
{
	ASSERT_EQ(0, add_many(self->fd, 0, TETHER_TEST_RESUME, TETHER_TEST_CHAIN, 1000));
	EXPECT_EQ(self->before.ran + 1001, counts_of(self->fd).ran);
	EXPECT_EQ(0, counts_of(self->fd).requeue_error);
}

/*
 * kthreadd would run the work at its end, and it never ends. Kernel threads are not found by their
 * pid.
 */
TEST_F(work, kernel_thread)
{
	unsigned int kind;

	for (kind = TETHER_TEST_BOX; kind <= TETHER_TEST_CLOSURE; kind++)
		EXPECT_EQ(-ESRCH, add_from(self->fd, 2, TETHER_TEST_RESUME, kind));
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

/* Mode "resume" does not wake a sleeping task, which runs the work when it wakes up. */
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

/* Mode "signal" interrupts the sleep. A read() is restarted, and no data is lost. */
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

/* Mode "soon" wakes a sleeping task as well. */
TEST_F(work, other_sleeping_soon)
{
	struct other other = {};
	pthread_t thread;

	ASSERT_EQ(0, pipe(other.pipe));
	ASSERT_EQ(0, pthread_create(&thread, NULL, sleeps, &other));
	wait_ready(&other);
	ASSERT_EQ(0, add_from(self->fd, other.tid, TETHER_TEST_SOON, TETHER_TEST_BOX));
	EXPECT_TRUE(wait_ran(self->fd, self->before.ran + 1));
	ASSERT_EQ(1, write(other.pipe[1], "x", 1));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, other.result);
}

/* A thread in user space is forced to enter the kernel. */
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

/* The target exits with a pending work, which runs without an address space. */
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

/* The target is killed while it sleeps with a pending work (CVE-2024-43870). */
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

/* Adding to a zombie fails and returns the item. */
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

/* Works are added to exiting tasks: each work runs or is refused (CVE-2025-38352). */
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
		/* The target cannot exit while new works arrive: slow down after a while. */
		for (tries = 0; tries < 50000 && error != -ESRCH; tries++) {
			if (tries > 500)
				usleep(100);
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
	EXPECT_EQ(60, refused);
}

/* The target executes a program with a pending work: the work runs exactly once. */
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

/* A file's queue runs its items in the order of the adds, in one task work. */
TEST_F(work, ordered)
{
	int round;

	ASSERT_EQ(0, add_many(self->fd, 0, TETHER_TEST_RESUME, TETHER_TEST_ORDERED, 1000));
	EXPECT_EQ(self->before.ran + 1001, counts_of(self->fd).ran);
	/* In each round, one item is added again, behind the others. */
	for (round = 0; round < 50; round++)
		ASSERT_EQ(0, add_many(self->fd, 0, TETHER_TEST_RESUME, TETHER_TEST_ORDERED, 7));
	EXPECT_EQ(self->before.again + 51, counts_of(self->fd).again);
	EXPECT_EQ(self->before.ran + 1001 + 50 * 8, counts_of(self->fd).ran);
}

/* The order is kept when items are added while another thread runs the queue. */
TEST_F(work, ordered_other)
{
	struct other other = { .spin = 1 };
	pthread_t thread;
	__s64 again;
	int round;

	ASSERT_EQ(0, pthread_create(&thread, NULL, spins, &other));
	wait_ready(&other);
	for (round = 0; round < 2000; round++)
		ASSERT_EQ(0, add_many(self->fd, other.tid, TETHER_TEST_SIGNAL, TETHER_TEST_ORDERED,
				      3));
	again = counts_of(self->fd).again - self->before.again;
	EXPECT_LT(0, again);
	EXPECT_TRUE(wait_ran(self->fd, self->before.ran + 6000 + again));
	other.spin = 0;
	pthread_join(thread, NULL);
	/* While the target exits, it may still accept items for a moment, and runs them. */
	for (round = 0; round < 1000; round++) {
		if (add_many(self->fd, 0, TETHER_TEST_SIGNAL, TETHER_TEST_ORDERED, 1) == -ESRCH)
			break;
		nap(1);
	}
	EXPECT_GT(1000, round);
}

/* If the target of a queue exits, it runs the items in order. */
TEST_F(work, ordered_exit)
{
	int status;
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (child == 0) {
		add_many(self->fd, 0, TETHER_TEST_NONE, TETHER_TEST_ORDERED, 10);
		_exit(0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(self->before.ran + 11, counts_of(self->fd).ran);
}

#define FD_CLOSE _IO(0xBB, 1)

/* A device closes a descriptor of the caller: the file is closed when the ioctl has returned. */
TEST_F(work, close_fd)
{
	int device = open("/dev/rust-fd-close", O_RDWR), ends[2];
	char byte;

	ASSERT_LE(0, device);
	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(0, ioctl(device, FD_CLOSE, ends[1]));
	EXPECT_EQ(0, read(ends[0], &byte, 1));
	EXPECT_EQ(-1, ioctl(device, FD_CLOSE, ends[1]));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(-1, ioctl(device, FD_CLOSE, -1L));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(-1, ioctl(device, _IO(0xBB, 2), 0));
	EXPECT_EQ(ENOTTY, errno);
	close(ends[0]);
	/* Close the descriptor that the ioctl itself uses. */
	ASSERT_EQ(0, ioctl(device, FD_CLOSE, device));
	EXPECT_EQ(-1, fcntl(device, F_GETFD));
	EXPECT_EQ(EBADF, errno);
}

/* Starts a process that sleeps, or a process that enters the kernel continuously. */
static pid_t start_child(int busy)
{
	pid_t child = fork();

	if (child == 0)
		for (;;) {
			if (busy)
				syscall(SYS_getppid);
			else
				pause();
		}
	nap(50);
	return child;
}

static void end_child(pid_t child)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* A callback cannot add its own item by another field either. */
TEST_F(work, two_fields)
{
	ASSERT_EQ(0, add_from(self->fd, 0, TETHER_TEST_RESUME, TETHER_TEST_TWO_FIELDS_BOX));
	EXPECT_EQ(self->before.ran + 1, counts_of(self->fd).ran);
	EXPECT_EQ(-EBUSY, counts_of(self->fd).requeue_error);
	ASSERT_EQ(0, add_from(self->fd, 0, TETHER_TEST_RESUME, TETHER_TEST_TWO_FIELDS_ARC));
	EXPECT_EQ(self->before.ran + 2, counts_of(self->fd).ran);
	EXPECT_EQ(-EBUSY, counts_of(self->fd).requeue_error);
}

/* Cancelling on a task does not cancel an add to another task. */
TEST_F(work, cancel_on_another_task)
{
	struct tether_test_race race = { .count = 5000 };

	race.tid = start_child(1);
	race.other = start_child(1);
	EXPECT_EQ(0, request(self->fd, TETHER_TEST_CANCEL_OTHER, (long)&race));
	end_child(race.tid);
	end_child(race.other);
	TH_LOG("%lld runs", counts_of(self->fd).ran - self->before.ran);
}

/* A task that waits for an item stops waiting when the item is added to this task. */
TEST_F(work, wait_retarget)
{
	int round, deadlocks = 0;

	for (round = 0; round < 20; round++) {
		pid_t child = start_child(0);
		int ret = request(self->fd, TETHER_TEST_WAIT_RETARGET, child);

		ASSERT_TRUE(ret == 0 || ret == -EDEADLK);
		deadlocks += ret == -EDEADLK;
		end_child(child);
	}
	TH_LOG("%d of 20 waits returned EDEADLK", deadlocks);
}

/* The functions for any context are called in an interrupt, concurrently with calls in a task. */
TEST_F(work, interrupts)
{
	struct tether_test_race race = { .count = 2000 };
	struct tether_test_counts after;

	for (race.other = 0; race.other < 2; race.other++) {
		race.tid = start_child(1);
		EXPECT_LT(100, request(self->fd, TETHER_TEST_INTERRUPTS, (long)&race));
		end_child(race.tid);
	}
	after = counts_of(self->fd);
	EXPECT_LT(self->before.ran, after.ran);
	TH_LOG("%lld ran", after.ran - self->before.ran);
}

/* Cancelled works of a stopped task occupy memory: their number is limited. */
TEST_F(work, cancelled_are_limited)
{
	struct tether_test_race race = { .count = 100000 };

	for (race.kind = 0; race.kind < 3; race.kind++) {
		struct tether_test_race again = { .count = 100, .kind = race.kind };
		pid_t other = start_child(0);

		race.tid = start_child(0);
		kill(race.tid, SIGSTOP);
		nap(50);
		EXPECT_EQ(4096, request(self->fd, TETHER_TEST_ADD_CANCEL, (long)&race));
		/* The limit does not apply to other tasks, or to boxes (never cancelled). */
		again.tid = other;
		EXPECT_EQ(100, request(self->fd, TETHER_TEST_ADD_CANCEL, (long)&again));
		EXPECT_EQ(0, add_from(self->fd, race.tid, TETHER_TEST_RESUME, TETHER_TEST_BOX));
		if (race.kind < 2) {
			EXPECT_EQ(-EAGAIN,
				  add_from(self->fd, race.tid, TETHER_TEST_RESUME,
					   race.kind ? TETHER_TEST_ARC : TETHER_TEST_CLOSURE));
		}
		/* After the target has run, more works can be added. */
		kill(race.tid, SIGCONT);
		ASSERT_TRUE(wait_ran(self->fd, self->before.ran + race.kind + 1));
		again.tid = race.tid;
		EXPECT_EQ(100, request(self->fd, TETHER_TEST_ADD_CANCEL, (long)&again));
		end_child(race.tid);
		end_child(other);
	}
	EXPECT_EQ(self->before.ran + 3, counts_of(self->fd).ran);
}

static void nothing(int signal)
{
}

/* The results of closures, and the waits that signals end or do not end. */
TEST_F(work, call)
{
	static const int kinds[] = {
		TETHER_TEST_CALL_KILLABLE, TETHER_TEST_CALL_TIMEOUT,
		TETHER_TEST_CALL_UNINTERRUPTIBLE, TETHER_TEST_CALL_ARC,
	};
	struct tether_test_race race;
	int status, i;
	pid_t caller;

	race.tid = start_child(0);
	for (i = 0; i < 4; i++) {
		race.kind = kinds[i];
		EXPECT_EQ(i < 2 ? race.tid : 0, request(self->fd, TETHER_TEST_CALL, (long)&race));
	}
	end_child(race.tid);
	/* A task does not wait for itself. */
	race.tid = 0;
	for (i = 0; i < 4; i++) {
		race.kind = kinds[i];
		EXPECT_EQ(-EDEADLK, request(self->fd, TETHER_TEST_CALL, (long)&race));
	}
	/* A stopped task does not call the closure. */
	race.tid = start_child(0);
	kill(race.tid, SIGSTOP);
	nap(50);
	race.kind = TETHER_TEST_CALL_TIMEOUT;
	EXPECT_EQ(0, request(self->fd, TETHER_TEST_CALL, (long)&race));
	race.kind = TETHER_TEST_CALL_UNINTERRUPTIBLE;
	EXPECT_EQ(-ETIMEDOUT, request(self->fd, TETHER_TEST_CALL, (long)&race));
	race.kind = TETHER_TEST_CALL_TOO_LONG;
	EXPECT_EQ(-EINVAL, request(self->fd, TETHER_TEST_CALL, (long)&race));
	/* A signal does not end a killable wait, unless it is fatal. */
	race.kind = TETHER_TEST_CALL_KILLABLE;
	caller = fork();
	if (caller == 0) {
		signal(SIGUSR1, nothing);
		_exit(request(self->fd, TETHER_TEST_CALL, (long)&race) == race.tid ? 0 : 1);
	}
	nap(100);
	kill(caller, SIGUSR1);
	nap(100);
	EXPECT_EQ(0, waitpid(caller, &status, WNOHANG));
	kill(race.tid, SIGCONT);
	EXPECT_EQ(caller, waitpid(caller, &status, 0));
	EXPECT_EQ(0, status);
	kill(race.tid, SIGSTOP);
	nap(50);
	caller = fork();
	if (caller == 0)
		_exit(request(self->fd, TETHER_TEST_CALL, (long)&race));
	nap(100);
	kill(caller, SIGKILL);
	EXPECT_EQ(caller, waitpid(caller, &status, 0));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	kill(race.tid, SIGKILL);
	end_child(race.tid);
}

/* Returns the number of lines of tether/outstanding for this process that contain a text. */
static int outstanding_of(pid_t pid, const char *what)
{
	char line[512], start[64];
	FILE *file = fopen("/sys/kernel/debug/tether/outstanding", "r");
	int count = 0;

	if (!file)
		return -1;
	snprintf(start, sizeof(start), "tether_test task_work %d ", pid);
	while (fgets(line, sizeof(line), file))
		count += strncmp(line, start, strlen(start)) == 0 && strstr(line, what);
	fclose(file);
	return count;
}

/* Works of the same type share a line. */
TEST_F(work, outstanding_many)
{
	pid_t child = start_child(0);
	int i;

	kill(child, SIGSTOP);
	nap(50);
	for (i = 0; i < 30000; i++)
		ASSERT_EQ(0, add_from(self->fd, child, TETHER_TEST_NONE, TETHER_TEST_BOX));
	ASSERT_EQ(0, add_from(self->fd, child, TETHER_TEST_NONE, TETHER_TEST_ARC));
	EXPECT_EQ(2, outstanding_of(child, ""));
	EXPECT_EQ(1, outstanding_of(child, "Boxed x30000\n"));
	EXPECT_EQ(1, outstanding_of(child, "Shared\n"));
	end_child(child);
	EXPECT_EQ(0, outstanding_of(child, ""));
}

/* A callback that blocks, in a process with further works behind it. */
FIXTURE(blocked)
{
	int fd;
	pid_t child;
	struct tether_test_counts before;
};

FIXTURE_SETUP(blocked)
{
	int round;

	self->fd = open("/dev/tether-test", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->before = counts_of(self->fd);
	self->child = start_child(0);
	ASSERT_EQ(0, request(self->fd, TETHER_TEST_OPEN_GATE, 0));
	for (round = 0; round < 3; round++)
		ASSERT_EQ(0, add_from(self->fd, self->child, TETHER_TEST_NONE, TETHER_TEST_BOX));
	for (round = 0; round < 2; round++)
		ASSERT_EQ(0,
			  add_from(self->fd, self->child, TETHER_TEST_NONE, TETHER_TEST_CLOSURE));
	/* The work that is added last runs first. */
	ASSERT_EQ(0, add_from(self->fd, self->child, TETHER_TEST_SIGNAL, TETHER_TEST_KEEP_BLOCKED));
	ASSERT_TRUE(wait_ran(self->fd, self->before.ran + 1));
}

FIXTURE_TEARDOWN(blocked)
{
	struct tether_test_counts now;
	int again;

	request(self->fd, TETHER_TEST_OPEN_GATE, 1);
	end_child(self->child);
	close(self->fd);
	again = open("/dev/tether-test", O_RDWR | O_CLOEXEC);
	now = counts_of(again);
	EXPECT_EQ(now.made - self->before.made, now.dropped - self->before.dropped);
	EXPECT_EQ(self->before.ran_in_wrong_task, now.ran_in_wrong_task);
	EXPECT_EQ(-EBUSY, now.requeue_error);
	EXPECT_EQ(0, outstanding_of(self->child, ""));
	close(again);
}

/* The running callback and the works behind it are listed. */
TEST_F(blocked, outstanding)
{
	EXPECT_EQ(3, outstanding_of(self->child, ""));
	EXPECT_EQ(1, outstanding_of(self->child, "Shared running\n"));
	EXPECT_EQ(1, outstanding_of(self->child, "Boxed x3\n"));
	EXPECT_EQ(1, outstanding_of(self->child, " x2\n"));
	/* A work that is added later is listed as well. */
	ASSERT_EQ(0, add_from(self->fd, self->child, TETHER_TEST_NONE, TETHER_TEST_ARC));
	EXPECT_EQ(1, outstanding_of(self->child, "Shared\n"));
	EXPECT_EQ(self->before.ran + 1, counts_of(self->fd).ran);
}

/* An item that is added while its callback runs, runs once more; the callback cannot add it. */
TEST_F(blocked, kick)
{
	EXPECT_EQ(0, request(self->fd, TETHER_TEST_ADD_AGAIN, TETHER_TEST_RESUME));
	EXPECT_EQ(-EBUSY, request(self->fd, TETHER_TEST_ADD_AGAIN, TETHER_TEST_RESUME));
	request(self->fd, TETHER_TEST_OPEN_GATE, 1);
	EXPECT_EQ(0, request(self->fd, TETHER_TEST_WAIT, 0));
	EXPECT_TRUE(wait_ran(self->fd, self->before.ran + 7));
	nap(50);
	EXPECT_EQ(self->before.ran + 7, counts_of(self->fd).ran);
}

/* An item runs in one task at a time. */
TEST_F(blocked, kick_elsewhere)
{
	EXPECT_EQ(-EBUSY, request(self->fd, TETHER_TEST_ADD_TO, getpid()));
	request(self->fd, TETHER_TEST_OPEN_GATE, 1);
	EXPECT_EQ(0, request(self->fd, TETHER_TEST_WAIT, 0));
	EXPECT_TRUE(wait_ran(self->fd, self->before.ran + 6));
}

/* The second run can be cancelled; a waiter still waits for the first one. */
TEST_F(blocked, kick_cancelled)
{
	EXPECT_EQ(TETHER_TEST_TOO_LATE, request(self->fd, TETHER_TEST_CANCEL, 0));
	EXPECT_EQ(0, request(self->fd, TETHER_TEST_ADD_AGAIN, TETHER_TEST_RESUME));
	EXPECT_EQ(TETHER_TEST_NOT_QUEUED, request(self->fd, TETHER_TEST_CANCEL, getpid()));
	EXPECT_EQ(TETHER_TEST_CANCELLED, request(self->fd, TETHER_TEST_CANCEL, 0));
	EXPECT_EQ(-ETIMEDOUT, request(self->fd, TETHER_TEST_WAIT, 50));
	EXPECT_EQ(-EBUSY, request(self->fd, TETHER_TEST_ADD_AGAIN, TETHER_TEST_RESUME));
	request(self->fd, TETHER_TEST_OPEN_GATE, 1);
	EXPECT_EQ(0, request(self->fd, TETHER_TEST_WAIT, 0));
	EXPECT_TRUE(wait_ran(self->fd, self->before.ran + 6));
	nap(50);
	EXPECT_EQ(self->before.ran + 6, counts_of(self->fd).ran);
}

/* The target is killed in the callback: the callback finishes, and the dying task runs it again. */
TEST_F(blocked, kick_killed)
{
	EXPECT_EQ(0, request(self->fd, TETHER_TEST_ADD_AGAIN, TETHER_TEST_RESUME));
	kill(self->child, SIGKILL);
	nap(50);
	request(self->fd, TETHER_TEST_OPEN_GATE, 1);
	EXPECT_EQ(0, request(self->fd, TETHER_TEST_WAIT, 0));
	EXPECT_TRUE(wait_ran(self->fd, self->before.ran + 7));
}

FIXTURE(kept)
{
	int fd;
	pid_t sleeper;
	struct tether_test_counts before;
};

FIXTURE_VARIANT(kept)
{
	unsigned int kind;
};

FIXTURE_VARIANT_ADD(kept, arc)
{
	.kind = TETHER_TEST_KEEP_ARC,
};

FIXTURE_VARIANT_ADD(kept, closure)
{
	.kind = TETHER_TEST_KEEP_CLOSURE,
};

FIXTURE_SETUP(kept)
{
	self->fd = open("/dev/tether-test", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->before = counts_of(self->fd);
	self->sleeper = fork();
	ASSERT_LE(0, self->sleeper);
	if (self->sleeper == 0)
		for (;;)
			pause();
	nap(50);
}

FIXTURE_TEARDOWN(kept)
{
	struct tether_test_counts now;
	int fd, status;

	kill(self->sleeper, SIGKILL);
	waitpid(self->sleeper, &status, 0);
	close(self->fd);
	fd = open("/dev/tether-test", O_RDWR | O_CLOEXEC);
	now = counts_of(fd);
	EXPECT_EQ(now.made - self->before.made, now.dropped - self->before.dropped);
	EXPECT_EQ(self->before.ran_in_wrong_task, now.ran_in_wrong_task);
	close(fd);
}

/* A pending item can be cancelled once, and does not run. */
TEST_F(kept, cancel_pending)
{
	int status;

	ASSERT_EQ(0, add_from(self->fd, self->sleeper, TETHER_TEST_RESUME, variant->kind));
	EXPECT_EQ(TETHER_TEST_CANCELLED, request(self->fd, TETHER_TEST_CANCEL, 0));
	EXPECT_EQ(TETHER_TEST_NOT_QUEUED, request(self->fd, TETHER_TEST_CANCEL, 0));
	kill(self->sleeper, SIGKILL);
	waitpid(self->sleeper, &status, 0);
	EXPECT_EQ(self->before.ran, counts_of(self->fd).ran);
}

TEST_F(kept, cancel_done)
{
	ASSERT_EQ(0, add_from(self->fd, 0, TETHER_TEST_RESUME, variant->kind));
	EXPECT_EQ(self->before.ran + 1, counts_of(self->fd).ran);
	EXPECT_EQ(TETHER_TEST_TOO_LATE, request(self->fd, TETHER_TEST_CANCEL, 0));
}

/*
 * An Arc is only cancelled on the task that it is pending on, and cannot be added again until this
 * task has reached the node.
 */
TEST_F(kept, cancel_identity)
{
	int status;

	if (variant->kind != TETHER_TEST_KEEP_ARC) {
		/* The handle of a closure knows the task. A closure cannot be added again. */
		ASSERT_EQ(0, add_from(self->fd, self->sleeper, TETHER_TEST_RESUME, variant->kind));
		EXPECT_EQ(-EINVAL, request(self->fd, TETHER_TEST_ADD_AGAIN, TETHER_TEST_RESUME));
		EXPECT_EQ(TETHER_TEST_CANCELLED, request(self->fd, TETHER_TEST_CANCEL, getpid()));
		return;
	}
	ASSERT_EQ(0, add_from(self->fd, self->sleeper, TETHER_TEST_RESUME, variant->kind));
	EXPECT_EQ(TETHER_TEST_NOT_QUEUED, request(self->fd, TETHER_TEST_CANCEL, getpid()));
	EXPECT_EQ(-EBUSY, request(self->fd, TETHER_TEST_ADD_AGAIN, TETHER_TEST_RESUME));
	EXPECT_EQ(TETHER_TEST_CANCELLED, request(self->fd, TETHER_TEST_CANCEL, self->sleeper));
	EXPECT_EQ(-EBUSY, request(self->fd, TETHER_TEST_ADD_AGAIN, TETHER_TEST_RESUME));
	kill(self->sleeper, SIGKILL);
	waitpid(self->sleeper, &status, 0);
	EXPECT_EQ(-ESRCH, request(self->fd, TETHER_TEST_ADD_AGAIN, TETHER_TEST_RESUME));
	EXPECT_EQ(self->before.ran, counts_of(self->fd).ran);
}

TEST_F(kept, wait)
{
	ASSERT_EQ(0, add_from(self->fd, self->sleeper, TETHER_TEST_RESUME, variant->kind));
	EXPECT_EQ(-ETIMEDOUT, request(self->fd, TETHER_TEST_WAIT, 50));
	kill(self->sleeper, SIGKILL);
	EXPECT_EQ(0, request(self->fd, TETHER_TEST_WAIT, 0));
	EXPECT_EQ(self->before.ran + 1, counts_of(self->fd).ran);
	/* After the item has run, wait() returns at once. */
	EXPECT_EQ(0, request(self->fd, TETHER_TEST_WAIT, 1));
}

TEST_F(kept, wait_is_interrupted)
{
	struct sigaction action = { .sa_handler = nothing };

	ASSERT_EQ(0, add_from(self->fd, self->sleeper, TETHER_TEST_RESUME, variant->kind));
	sigaction(SIGALRM, &action, NULL);
	ualarm(100000, 0);
	EXPECT_EQ(-EINTR, request(self->fd, TETHER_TEST_WAIT, 0));
}

/* A task that waits for its own pending work would wait without end. */
TEST_F(kept, wait_for_oneself)
{
	ASSERT_EQ(0, add_from(self->fd, 0, TETHER_TEST_NONE, variant->kind));
	EXPECT_EQ(-EDEADLK, request(self->fd, TETHER_TEST_WAIT, 0));
	EXPECT_EQ(self->before.ran, counts_of(self->fd).ran);
	/* The pending work runs together with another work. */
	ASSERT_EQ(0, add_from(self->fd, 0, TETHER_TEST_RESUME, TETHER_TEST_BOX));
	EXPECT_EQ(self->before.ran + 2, counts_of(self->fd).ran);
}

/* Two tasks add to each other in mode "signal", and cancel (the deadlock of landlock's TSYNC). */
static int cross(int fd, int tid, unsigned int kind, int rounds)
{
	int round, ret;

	for (round = 0; round < rounds; round++) {
		ret = add_from(fd, tid, TETHER_TEST_SIGNAL, kind);
		if (ret)
			return ret;
		ret = request(fd, TETHER_TEST_CANCEL, 0);
		if (ret < 0)
			return ret;
	}
	return 0;
}

TEST_F(kept, cross_queueing)
{
	pid_t parent = getpid(), child;
	int status;

	child = fork();
	ASSERT_LE(0, child);
	if (child == 0) {
		int fd = open("/dev/tether-test", O_RDWR);

		_exit(-cross(fd, parent, variant->kind, 2000));
	}
	status = cross(self->fd, child, variant->kind, 2000);
	EXPECT_TRUE(status == 0 || status == -ESRCH);
	while (waitpid(child, &status, 0) != child)
		;
	EXPECT_EQ(0, status);
}

/* Cancelling races with running: each item is either cancelled or runs. */
TEST_F(kept, cancel_race)
{
	struct other other = { .spin = 1 };
	pthread_t thread;
	int round, cancelled = 0, late = 0;

	ASSERT_EQ(0, pthread_create(&thread, NULL, spins, &other));
	wait_ready(&other);
	for (round = 0; round < 3000; round++) {
		int ret;

		ASSERT_EQ(0, add_from(self->fd, other.tid, TETHER_TEST_SIGNAL, variant->kind));
		if (round % 3)
			sched_yield();
		ret = request(self->fd, TETHER_TEST_CANCEL, 0);
		cancelled += ret == TETHER_TEST_CANCELLED;
		late += ret == TETHER_TEST_TOO_LATE;
	}
	other.spin = 0;
	pthread_join(thread, NULL);
	EXPECT_EQ(3000, cancelled + late);
	EXPECT_EQ(self->before.ran + late, counts_of(self->fd).ran);
	TH_LOG("%d cancelled, %d too late", cancelled, late);
}

/* Many works on the calling task; TETHER_WORKS sets the number. */
TEST_F(work, many_on_self)
{
	long works = getenv("TETHER_WORKS") ? atol(getenv("TETHER_WORKS")) : 20000, i;

	for (i = 0; i < works; i++)
		ASSERT_EQ(0, add_from(self->fd, 0, TETHER_TEST_NONE + i % 4, i % 3));
	ASSERT_EQ(0, add_from(self->fd, 0, TETHER_TEST_RESUME, TETHER_TEST_BOX));
	EXPECT_EQ(self->before.ran + works + 1, counts_of(self->fd).ran);
}

/* A tenth as many works on threads that sleep, spin, receive signals and exit at random. */
struct crowd {
	int fd;
	volatile int stop;
	volatile int tids[8];
};

static void *member(void *data)
{
	struct crowd *crowd = ((void **)data)[0];
	long index = (long)((void **)data)[1];
	unsigned int seed = index * 7919 + syscall(SYS_gettid), life;

	free(data);
	crowd->tids[index] = syscall(SYS_gettid);
	for (life = rand_r(&seed) % 200; life && !crowd->stop; life--) {
		if (rand_r(&seed) % 2)
			nap(1);
		else
			syscall(SYS_getppid);
	}
	return NULL;
}

static void *keeps_alive(void *data)
{
	void **slot = data;
	struct crowd *crowd = slot[0];

	while (!crowd->stop) {
		void **copy = malloc(2 * sizeof(*copy));
		pthread_t thread;

		copy[0] = slot[0];
		copy[1] = slot[1];
		if (pthread_create(&thread, NULL, member, copy) == 0)
			pthread_join(thread, NULL);
		else
			free(copy);
	}
	return NULL;
}

TEST_F(work, many_across)
{
	long works = (getenv("TETHER_WORKS") ? atol(getenv("TETHER_WORKS")) : 20000) / 10, i;
	struct crowd crowd = { .fd = self->fd };
	struct sigaction action = { .sa_handler = nothing };
	struct tether_test_counts after;
	long added = 0, refused = 0;
	pthread_t keepers[8];
	void *slots[8][2];

	sigaction(SIGUSR1, &action, NULL);
	for (i = 0; i < 8; i++) {
		slots[i][0] = &crowd;
		slots[i][1] = (void *)i;
		ASSERT_EQ(0, pthread_create(&keepers[i], NULL, keeps_alive, slots[i]));
	}
	nap(100);
	for (i = 0; i < works; i++) {
		int tid = crowd.tids[i % 8], ret;

		ret = add_from(self->fd, tid, i % 4, i % 3);
		ASSERT_TRUE(ret == 0 || ret == -ESRCH);
		added += ret == 0;
		refused += ret != 0;
		if (i % 16 == 0)
			syscall(SYS_tgkill, getpid(), tid, SIGUSR1);
	}
	crowd.stop = 1;
	for (i = 0; i < 8; i++)
		pthread_join(keepers[i], NULL);
	after = counts_of(self->fd);
	EXPECT_EQ(self->before.ran + added, after.ran);
	TH_LOG("%ld added, %ld refused", added, refused);
}

TEST_HARNESS_MAIN
