// SPDX-License-Identifier: GPL-2.0
/*
 * What a module may leave behind when it goes. Needs the module tether; loads and unloads others,
 * from the folder in TETHER_MODULES.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "test_mmu_notifier.h"
#include "tether_test.h"

static int load(const char *name)
{
	char path[512];
	int fd, ret;

	snprintf(path, sizeof(path), "%s/%s.ko", getenv("TETHER_MODULES"), name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);
	return ret;
}

static int unload(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

/* Makes the kernel reuse what was freed. */
static void work_the_machine(void)
{
	int i;

	for (i = 0; i < 50; i++) {
		void *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		munmap(memory, 1 << 20);
		if (fork() == 0)
			_exit(0);
		wait(NULL);
	}
}

static int outstanding(const char *word)
{
	char line[512];
	int found = 0;
	FILE *file = fopen("/sys/kernel/debug/tether/outstanding", "r");

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		found += strstr(line, word) != NULL;
	fclose(file);
	return found;
}

static int open_device(void)
{
	int tries, fd;

	for (tries = 0; tries < 100; tries++) {
		fd = open("/dev/tether-test", O_RDWR | O_CLOEXEC);
		if (fd >= 0)
			return fd;
		usleep(10000);
	}
	return -errno;
}

static pid_t sleeper(void)
{
	pid_t child = fork();

	if (child == 0) {
		pause();
		_exit(0);
	}
	usleep(50000);
	return child;
}

/*
 * Loads tether_test, and queues something of it on a process that sleeps; returns that. *device, if
 * wanted, is what it was queued by, and still open.
 */
static pid_t load_and_queue(struct __test_metadata *_metadata, unsigned int kind, int *device)
{
	struct tether_test_add argument = {
		.mode = TETHER_TEST_RESUME,
		.kind = kind,
		.count = 3,
	};
	int fd;

	argument.tid = sleeper();
	ASSERT_EQ(0, load("tether_test"));
	fd = open_device();
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioctl(fd, TETHER_TEST_ADD, &argument));
	if (device)
		*device = fd;
	else
		close(fd);
	return argument.tid;
}

/* Its works run then. */
static void end(struct __test_metadata *_metadata, pid_t child)
{
	int status;

	kill(child, SIGKILL);
	ASSERT_EQ(child, waitpid(child, &status, 0));
}

FIXTURE(unload)
{
};

FIXTURE_SETUP(unload)
{
	/* What a test that has failed may have left. */
	unload("leak");
	unload("rust_kthread");
	unload("stubborn");
	unload("test_mmu_notifier");
	unload("tether_test");
}

FIXTURE_TEARDOWN(unload)
{
}

/* Pending work makes rmmod fail, and is listed; once it has run, rmmod works. */
TEST_F(unload, pending_work_is_in_use)
{
	int round;

	for (round = 0; round < 10; round++) {
		pid_t child = load_and_queue(_metadata, round % 3, NULL);

		EXPECT_EQ(-EAGAIN, unload("tether_test"));
		EXPECT_EQ(1, outstanding("tether_test task_work"));
		end(_metadata, child);
		EXPECT_EQ(0, outstanding("tether_test"));
		ASSERT_EQ(0, unload("tether_test"));
	}
}

/* An init that queues work, leaks a thread and then fails does no harm. */
TEST_F(unload, failed_init)
{
	int round;

	for (round = 0; round < 20; round++) {
		ASSERT_EQ(-EUCLEAN, load("fail_init"));
		work_the_machine();
		EXPECT_EQ(0, outstanding("fail_init"));
	}
}

/* Whoever loads it is watched by what it leaks, and lives on when it is gone. */
TEST_F(unload, leaked_registrations)
{
	int round;

	for (round = 0; round < 20; round++) {
		ASSERT_EQ(0, load("leak"));
		EXPECT_EQ(10, outstanding("leak "));
		work_the_machine();
		ASSERT_EQ(0, unload("leak"));
		EXPECT_EQ(0, outstanding("leak "));
		/* What was freed is taken by others, and the notifiers' owner is still here. */
		ASSERT_EQ(0, load("rust_kthread"));
		work_the_machine();
		ASSERT_EQ(0, unload("rust_kthread"));
	}
}

/* A leaked notifier whose address space ends before its module. */
TEST_F(unload, leaked_registrations_on_a_process_that_ends)
{
	int round, status;

	for (round = 0; round < 10; round++) {
		pid_t child = fork();

		ASSERT_LE(0, child);
		if (child == 0)
			_exit(-load("leak"));
		ASSERT_EQ(child, waitpid(child, &status, 0));
		ASSERT_EQ(0, status);
		ASSERT_EQ(0, unload("leak"));
	}
}

/* How often the kernel's log has said this. */
static int said(const char *text)
{
	char command[256];
	FILE *pipe;
	int count = -1;

	snprintf(command, sizeof(command), "dmesg | grep -c '%s'", text);
	pipe = popen(command, "r");
	if (!pipe)
		return -1;
	fscanf(pipe, "%d", &count);
	pclose(pipe);
	return count;
}

/* A thread and a worker that go on for longer than ten seconds are waited for, and named. */
TEST_F(unload, what_does_not_stop_is_named)
{
	int thread = said("stubborn.* ignores the request to stop: its module cannot go");
	int worker = said("a work of worker [0-9]* does not return: its module cannot go");

	ASSERT_EQ(0, load("stubborn"));
	ASSERT_EQ(0, unload("stubborn"));
	EXPECT_EQ(thread + 1, said("stubborn.* ignores the request to stop: its module cannot go"));
	EXPECT_EQ(worker + 1, said("a work of worker [0-9]* does not return: its module cannot go"));
	work_the_machine();
}

static void stay_on(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

/*
 * A shared notifier is freed later, by a callback on the CPU that has dropped it. Its module goes on
 * another one meanwhile, where waiting for a grace period is not waiting for that.
 */
TEST_F(unload, shared_notifier_dropped_elsewhere)
{
	int round, status;

	for (round = 0; round < 20; round++) {
		pid_t child;
		int i, fd;

		ASSERT_EQ(0, load("test_mmu_notifier"));
		child = fork();
		if (child == 0) {
			stay_on(0);
			for (i = 0; i < 100; i++) {
				fd = open("/dev/test-mmu-notifier", O_RDWR);
				if (fd >= 0)
					break;
				usleep(10000);
			}
			for (i = 0; i < 5; i++)
				if (ioctl(fd, MMU_TEST_GET) || ioctl(fd, MMU_TEST_PUT))
					_exit(1);
			_exit(0);
		}
		stay_on(1);
		ASSERT_EQ(child, waitpid(child, &status, 0));
		ASSERT_EQ(0, status);
		ASSERT_EQ(0, unload("test_mmu_notifier"));
		if (round % 4 == 0)
			work_the_machine();
	}
}

/* The library is what the kernel calls: it stays. */
TEST_F(unload, tether_stays)
{
	EXPECT_EQ(-EBUSY, unload("tether"));
}

/* Cancelled closures let their module go, though their nodes are linked still. */
TEST_F(unload, cancelled_closure)
{
	int round;

	for (round = 0; round < 10; round++) {
		int fd;
		pid_t child = load_and_queue(_metadata, TETHER_TEST_KEEP_CLOSURE, &fd);

		ASSERT_EQ(0, ioctl(fd, TETHER_TEST_CANCEL, 0));
		close(fd);
		EXPECT_EQ(0, unload("tether_test"));
		work_the_machine();
		/*
		 * The node is linked still, and what it says of its module is not true any more: neither
		 * who looks for another module's works nor who lists them may follow it.
		 */
		EXPECT_EQ(-EUCLEAN, load("fail_init"));
		EXPECT_EQ(0, outstanding("tether_test"));
		end(_metadata, child);
	}
}

/* load, queue on a sleeper, rmmod (in use), release, rmmod (works). */
TEST_F(unload, storm)
{
	static const unsigned int kinds[] = { TETHER_TEST_BOX, TETHER_TEST_ARC, TETHER_TEST_CLOSURE,
					      TETHER_TEST_ORDERED };
	int rounds = getenv("TETHER_STORM") ? atoi(getenv("TETHER_STORM")) : 20, round;

	for (round = 0; round < rounds; round++) {
		pid_t child = load_and_queue(_metadata, kinds[round % 4], NULL);

		ASSERT_EQ(-EAGAIN, unload("tether_test"));
		end(_metadata, child);
		ASSERT_EQ(0, unload("tether_test"));
	}
}

TEST_F(unload, rmmod_straight_after_load)
{
	int round;

	for (round = 0; round < 20; round++) {
		ASSERT_EQ(0, load("rust_kthread"));
		ASSERT_EQ(0, unload("rust_kthread"));
	}
}

TEST_HARNESS_MAIN
