// SPDX-License-Identifier: GPL-2.0
/* Kernel threads as user space sees them. Needs the modules tether and test_kthread. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "test_kthread.h"

#ifndef SCHED_DEADLINE
#define SCHED_DEADLINE	6
#endif

static const struct kthread_test_make any = {
	.node = -1, .cpu = -1, .preferred = -1, .nice = 100,
};

static int make(int fd, struct kthread_test_make argument)
{
	int pid = ioctl(fd, KTHREAD_TEST_MAKE, &argument);

	return pid < 0 ? -errno : pid;
}

static long number_of(const char *name, long otherwise)
{
	const char *value = getenv(name);

	return value ? atol(value) : otherwise;
}

/* Returns the first line of a file, or the text after @key in it; "" if there is none. */
static const char *read_line(const char *path, const char *key)
{
	static char line[256];
	FILE *file = fopen(path, "r");
	const char *found = "";

	while (file && fgets(line, sizeof(line), file)) {
		if (!key || !strncmp(line, key, strlen(key))) {
			line[strcspn(line, "\n")] = 0;
			found = line + (key ? strlen(key) + strspn(line + strlen(key), "\t ") : 0);
			break;
		}
	}
	if (file)
		fclose(file);
	return found;
}

static const char *proc(int pid, const char *name, const char *key)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return read_line(path, key);
}

FIXTURE(kthread)
{
	int fd;
};

FIXTURE_SETUP(kthread)
{
	self->fd = open("/dev/test-kthread", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
}

/* Each object that was created must be dropped exactly once. */
FIXTURE_TEARDOWN(kthread)
{
	struct kthread_test_counts counts;

	ioctl(self->fd, KTHREAD_TEST_STOP);
	ASSERT_EQ(0, ioctl(self->fd, KTHREAD_TEST_COUNTS, &counts));
	EXPECT_EQ(counts.made, counts.dropped);
	close(self->fd);
}

TEST_F(kthread, long_name)
{
	struct kthread_test_make argument = any;
	int pid, i;

	argument.flags = KTHREAD_TEST_LONG_NAME;
	pid = make(self->fd, argument);
	ASSERT_LT(0, pid);
	EXPECT_STREQ("kthread-test/a-name-that-is-long/42", proc(pid, "comm", NULL));
	/* EINTR if the body had not begun. */
	EXPECT_TRUE(ioctl(self->fd, KTHREAD_TEST_STOP) >= 0 || errno == EINTR);
	/* The task is released as well, shortly after kthread_stop() has returned. */
	for (i = 0; i < 5000 && *proc(pid, "comm", NULL); i++)
		usleep(1000);
	EXPECT_STREQ("", proc(pid, "comm", NULL));
}

TEST_F(kthread, cpus)
{
	struct kthread_test_make argument = any;
	int pid;

	argument.cpu = 1;
	pid = make(self->fd, argument);
	ASSERT_LT(0, pid);
	EXPECT_STREQ("1", proc(pid, "status", "Cpus_allowed_list:"));
	argument = any;
	argument.preferred = 1;
	pid = make(self->fd, argument);
	ASSERT_LT(0, pid);
	EXPECT_STREQ("1", proc(pid, "status", "Cpus_allowed_list:"));
	argument = any;
	pid = make(self->fd, argument);
	ASSERT_LT(0, pid);
	EXPECT_STREQ("0-1", proc(pid, "status", "Cpus_allowed_list:"));
	argument.cpu = 1;
	argument.flags = KTHREAD_TEST_ON_WORKER;
	pid = make(self->fd, argument);
	ASSERT_LT(0, pid);
	EXPECT_STREQ("1", proc(pid, "status", "Cpus_allowed_list:"));
	argument.cpu = 4095;
	EXPECT_EQ(-EINVAL, make(self->fd, argument));
}

/* The test machine has two NUMA nodes with a CPU each. */
TEST_F(kthread, nodes)
{
	struct kthread_test_make argument = any;
	int node, pid;

	ASSERT_STREQ("0-1", read_line("/sys/devices/system/node/online", NULL));
	for (node = 0; node < 2; node++) {
		argument.node = node;
		pid = make(self->fd, argument);
		ASSERT_LT(0, pid);
		/* The thread moves to its node when it starts. */
		usleep(100000);
		EXPECT_STREQ(node ? "1" : "0", proc(pid, "status", "Cpus_allowed_list:"));
	}
	argument.node = 2;
	EXPECT_EQ(-EINVAL, make(self->fd, argument));
}

TEST_F(kthread, policies)
{
	struct kthread_test_make argument = any;
	struct sched_param param;
	int pid;

	argument.nice = -7;
	pid = make(self->fd, argument);
	ASSERT_LT(0, pid);
	EXPECT_EQ(SCHED_OTHER, sched_getscheduler(pid));
	EXPECT_EQ(-7, getpriority(PRIO_PROCESS, pid));
	argument.nice = 20;
	pid = make(self->fd, argument);
	ASSERT_LT(0, pid);
	EXPECT_EQ(SCHED_FIFO, sched_getscheduler(pid));
	ASSERT_EQ(0, sched_getparam(pid, &param));
	EXPECT_EQ(1, param.sched_priority);
	argument.nice = 21;
	pid = make(self->fd, argument);
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, sched_getparam(pid, &param));
	EXPECT_LT(1, param.sched_priority);
}

static int set_policy(int fd, int policy)
{
	return ioctl(fd, KTHREAD_TEST_SET_POLICY, policy) < 0 ? -errno : 0;
}

/* The kernel reserves CPU time for a deadline thread, or refuses the thread. */
TEST_F(kthread, deadline)
{
	struct kthread_test_make argument = any;
	int pid, i, cpus, fds[256];

	argument.nice = KTHREAD_TEST_LATE_DEADLINE;
	EXPECT_EQ(-EINVAL, make(self->fd, argument));
	argument.nice = KTHREAD_TEST_NEGATIVE;
	EXPECT_EQ(-EINVAL, make(self->fd, argument));
	argument.nice = KTHREAD_TEST_LITTLE;
	EXPECT_EQ(-EINVAL, make(self->fd, argument));
	argument.nice = KTHREAD_TEST_DEADLINE;
	pid = make(self->fd, argument);
	ASSERT_LT(0, pid);
	EXPECT_EQ(SCHED_DEADLINE, sched_getscheduler(pid));
	/* Only the thread itself changes from this policy, and to it. */
	EXPECT_EQ(-EBUSY, set_policy(self->fd, 5));
	EXPECT_EQ(SCHED_DEADLINE, sched_getscheduler(pid));
	/* It may be stopped before it has begun. */
	EXPECT_TRUE(ioctl(self->fd, KTHREAD_TEST_STOP) >= 0 || errno == EINTR);
	/* Such a thread must be allowed to run on all CPUs. */
	argument.cpu = 0;
	EXPECT_EQ(-EINVAL, make(self->fd, argument));
	argument.cpu = any.cpu;
	argument.nice = 5;
	pid = make(self->fd, argument);
	ASSERT_LT(0, pid);
	EXPECT_EQ(-EINVAL, set_policy(self->fd, KTHREAD_TEST_DEADLINE));
	EXPECT_EQ(SCHED_OTHER, sched_getscheduler(pid));
	EXPECT_EQ(5, getpriority(PRIO_PROCESS, pid));
	EXPECT_TRUE(ioctl(self->fd, KTHREAD_TEST_STOP) >= 0 || errno == EINTR);
	/* Deadline threads get less than the time of all CPUs. */
	cpus = sysconf(_SC_NPROCESSORS_ONLN);
	argument.nice = KTHREAD_TEST_WHOLE_TIME;
	ASSERT_GE(256, cpus);
	for (i = 0; i < cpus; i++) {
		fds[i] = open("/dev/test-kthread", O_RDWR | O_CLOEXEC);
		ASSERT_LE(0, fds[i]);
		pid = make(fds[i], argument);
		if (pid < 0)
			break;
	}
	EXPECT_EQ(-EBUSY, pid);
	for (cpus = i; cpus >= 0; cpus--)
		close(fds[cpus]);
}

TEST_F(kthread, policy_of_a_worker_and_of_the_thread_itself)
{
	struct kthread_test_make argument = any;
	int pid;

	argument.flags = KTHREAD_TEST_ON_WORKER;
	pid = make(self->fd, argument);
	ASSERT_LT(0, pid);
	EXPECT_EQ(0, set_policy(self->fd, KTHREAD_TEST_FIFO_LOW));
	EXPECT_EQ(SCHED_FIFO, sched_getscheduler(pid));
	EXPECT_EQ(-EINVAL, set_policy(self->fd, 1000));
	argument.flags = 0;
	argument.body = KTHREAD_TEST_OWN_POLICY;
	pid = make(self->fd, argument);
	ASSERT_LT(0, pid);
	usleep(50000);
	EXPECT_EQ(SCHED_FIFO, sched_getscheduler(pid));
	EXPECT_LE(0, ioctl(self->fd, KTHREAD_TEST_STOP));
}

/* A signal that the owner of the handle sends. */
TEST_F(kthread, signal_by_the_handle)
{
	struct kthread_test_make argument = any;

	argument.body = KTHREAD_TEST_SIGNAL;
	ASSERT_LT(0, make(self->fd, argument));
	usleep(50000);
	EXPECT_EQ(-1, ioctl(self->fd, KTHREAD_TEST_SEND, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(self->fd, KTHREAD_TEST_SEND, 65));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(self->fd, KTHREAD_TEST_SEND, SIGKILL));
	EXPECT_EQ(EINVAL, errno);
	/* This one is not allowed, and is ignored. */
	EXPECT_EQ(0, ioctl(self->fd, KTHREAD_TEST_SEND, SIGTERM));
	EXPECT_EQ(0, ioctl(self->fd, KTHREAD_TEST_SEND, SIGUSR1));
	EXPECT_EQ(SIGUSR1, ioctl(self->fd, KTHREAD_TEST_JOIN));
}

/* An allowed signal ends the sleep of the body. Other signals are ignored; a stop is no signal. */
TEST_F(kthread, signals)
{
	struct kthread_test_make argument = any;
	int pid;

	argument.body = KTHREAD_TEST_SIGNAL;
	pid = make(self->fd, argument);
	ASSERT_LT(0, pid);
	usleep(50000);
	EXPECT_EQ(0, kill(pid, SIGTERM));
	EXPECT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(0, kill(pid, SIGUSR1));
	EXPECT_EQ(SIGUSR1, ioctl(self->fd, KTHREAD_TEST_JOIN));

	pid = make(self->fd, argument);
	ASSERT_LT(0, pid);
	usleep(50000);
	EXPECT_EQ(0, kill(pid, SIGTERM));
	EXPECT_EQ(0, ioctl(self->fd, KTHREAD_TEST_STOP));
}

TEST_F(kthread, park)
{
	struct kthread_test_make argument = any;
	int pid = make(self->fd, argument);

	ASSERT_LT(0, pid);
	EXPECT_EQ(-1, ioctl(self->fd, KTHREAD_TEST_PARK));
	EXPECT_EQ(EOPNOTSUPP, errno);
	argument.flags = KTHREAD_TEST_PARKABLE;
	pid = make(self->fd, argument);
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, ioctl(self->fd, KTHREAD_TEST_PARK));
	EXPECT_STREQ("P (parked)", proc(pid, "status", "State:"));
	EXPECT_EQ(-1, ioctl(self->fd, KTHREAD_TEST_PARK));
	EXPECT_EQ(EBUSY, errno);
	ASSERT_EQ(0, ioctl(self->fd, KTHREAD_TEST_UNPARK));
	usleep(50000);
	EXPECT_STRNE("P (parked)", proc(pid, "status", "State:"));
	ASSERT_EQ(0, ioctl(self->fd, KTHREAD_TEST_PARK));
	EXPECT_LE(0, ioctl(self->fd, KTHREAD_TEST_STOP));
}

/* Suspends the system up to the freezing of tasks, for a second. Returns 0, or the error. */
static int freeze_all(void)
{
	int ret = write_file("/sys/module/suspend/parameters/pm_test_delay", "1");

	if (!ret)
		ret = write_file("/sys/power/pm_test", "freezer");
	return ret ?: write_file("/sys/power/state", "freeze");
}

/* A freezable thread does not run while the system is suspended; other threads do. */
static void freezable(struct __test_metadata *_metadata, FIXTURE_DATA(kthread) *self,
		      unsigned int flags, unsigned int body)
{
	struct kthread_test_make argument = any;
	int other = open("/dev/test-kthread", O_RDWR | O_CLOEXEC);
	int stood, ran;

	ASSERT_LE(0, other);
	argument.flags = flags;
	argument.body = body;
	ASSERT_LT(0, make(other, argument));
	argument.flags |= KTHREAD_TEST_FREEZABLE;
	ASSERT_LT(0, make(self->fd, argument));
	usleep(100000);
	ASSERT_EQ(0, freeze_all());
	/* The thread needs another tick to measure the pause. */
	usleep(100000);
	stood = ioctl(self->fd, KTHREAD_TEST_STOP);
	ran = ioctl(other, KTHREAD_TEST_STOP);
	TH_LOG("longest pause: freezable %d ms, not freezable %d ms", stood, ran);
	EXPECT_LE(900, stood);
	EXPECT_LT(ran, stood / 2);
	close(other);
}

TEST_F(kthread, freezer)
{
	freezable(_metadata, self, 0, KTHREAD_TEST_TICKER);
}

TEST_F(kthread, freezer_of_a_worker)
{
	freezable(_metadata, self, KTHREAD_TEST_ON_WORKER, KTHREAD_TEST_TICKER);
}

/*
 * A thread with sleeps that end at once, because it always has work to do, freezes in these sleeps
 * as well.
 */
TEST_F(kthread, freezer_of_a_busy_thread)
{
	freezable(_metadata, self, 0, KTHREAD_TEST_BUSY);
}

/* A freezable thread that is parked does not make a suspend fail. */
TEST_F(kthread, freezer_with_a_parked_thread)
{
	struct kthread_test_make argument = any;
	int pid;

	argument.flags = KTHREAD_TEST_FREEZABLE | KTHREAD_TEST_PARKABLE;
	pid = make(self->fd, argument);
	ASSERT_LT(0, pid);
	/* Wait until the body has begun, so that the thread is freezable when it parks. */
	usleep(100000);
	ASSERT_EQ(0, ioctl(self->fd, KTHREAD_TEST_PARK));
	EXPECT_EQ(0, freeze_all());
	ASSERT_EQ(0, ioctl(self->fd, KTHREAD_TEST_UNPARK));
	usleep(100000);
	/* The thread is freezable after it was unparked. */
	EXPECT_EQ(0, freeze_all());
	usleep(100000);
	EXPECT_LE(900, ioctl(self->fd, KTHREAD_TEST_STOP));
}

/* Threads are stopped or joined after random delays: each body and result is dropped once. */
TEST_F(kthread, cycles)
{
	unsigned int count = number_of("TETHER_CYCLES", 500);
	int join;

	for (join = 0; join < 2; join++) {
		struct kthread_test_cycles argument = {
			.count = count, .join = join, .delay = 500, .seed = 1,
		};
		struct kthread_test_counts before, after;

		ASSERT_EQ(0, ioctl(self->fd, KTHREAD_TEST_COUNTS, &before));
		ASSERT_EQ(0, ioctl(self->fd, KTHREAD_TEST_CYCLES, &argument));
		ASSERT_EQ(0, ioctl(self->fd, KTHREAD_TEST_COUNTS, &after));
		EXPECT_EQ(2 * count, after.made - before.made);
		EXPECT_EQ(2 * count, after.dropped - before.dropped);
		if (join)
			EXPECT_EQ(count, argument.ran);
		TH_LOG("%u threads %s: %u bodies ran", count, join ? "joined" : "stopped",
		       argument.ran);
	}
}

/* Takes a CPU offline and online again, until the child is killed. */
static pid_t hotplug(void)
{
	pid_t child = fork();

	if (child)
		return child;
	for (;;) {
		write_file("/sys/devices/system/cpu/cpu1/online", "0");
		usleep(20000);
		write_file("/sys/devices/system/cpu/cpu1/online", "1");
		usleep(50000);
	}
}

TEST_F(kthread, storm)
{
	struct kthread_test_storm argument = {
		.threads = 100,
		.milliseconds = number_of("TETHER_STORM_SECONDS", 3) * 1000,
		.seed = number_of("TETHER_SEED", 1),
	};
	pid_t child = hotplug();
	int ret, tries = 0;

	ASSERT_LT(0, child);
	/* Few operations meet a body that has ended: on a slow machine, retry until some do. */
	do {
		ret = ioctl(self->fd, KTHREAD_TEST_STORM, &argument);
		argument.seed++;
	} while (ret == 0 && argument.errors == 0 && argument.over == 0 && ++tries < 60);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	write_file("/sys/devices/system/cpu/cpu1/online", "1");
	ASSERT_EQ(0, ret);
	TH_LOG("seed %u: %u threads made, parked %u times; busy %u, over %u", argument.seed - 1,
	       argument.made, argument.parked, argument.busy, argument.over);
	EXPECT_EQ(0, argument.errors);
	EXPECT_LE(100, argument.made);
	EXPECT_LT(0, argument.parked);
	EXPECT_LT(0, argument.busy);
	EXPECT_LT(0, argument.over);
}

static void *unmap_in_a_loop(void *memory)
{
	for (;;) {
		pthread_testcancel();
		mmap(memory, 4096, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		usleep(100);
		munmap(memory, 4096);
		usleep(100);
	}
	return NULL;
}

/* A thread accesses memory of a process that unmaps this memory concurrently. */
TEST_F(kthread, another_address_space)
{
	uint32_t *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kthread_test_mm argument = {
		.address = (uintptr_t)memory, .milliseconds = 200,
	};
	pthread_t thread;

	ASSERT_NE(MAP_FAILED, memory);
	*memory = 5;
	ASSERT_EQ(0, ioctl(self->fd, KTHREAD_TEST_MM, &argument));
	EXPECT_LT(0, argument.seen);
	EXPECT_EQ(0, argument.gone);
	EXPECT_EQ(0, argument.errors);
	EXPECT_EQ(5 + argument.seen, *memory);

	argument.milliseconds = 1000;
	ASSERT_EQ(0, pthread_create(&thread, NULL, unmap_in_a_loop, memory));
	ASSERT_EQ(0, ioctl(self->fd, KTHREAD_TEST_MM, &argument));
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	TH_LOG("there %u times, gone %u times", argument.seen, argument.gone);
	EXPECT_LT(0, argument.seen);
	EXPECT_LT(0, argument.gone);
	EXPECT_EQ(0, argument.errors);
}

TEST_F(kthread, kinds)
{
	int kind;

	for (kind = 0; kind < KTHREAD_TEST_KINDS; kind++)
		EXPECT_EQ(0, ioctl(self->fd, KTHREAD_TEST_KIND, kind));
}

TEST_HARNESS_MAIN
