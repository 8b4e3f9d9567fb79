// SPDX-License-Identifier: GPL-2.0
/*
 * Each allocation fails once, in turn: the error comes back, and nothing is left behind. Needs
 * tether and test_kthread, and a kernel with fault injection.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "harness.h"
#include "test_kthread.h"

#define FAULTS "/sys/kernel/debug/"

FIXTURE(fault)
{
	int fd;
};

FIXTURE_SETUP(fault)
{
	self->fd = open("/dev/test-kthread", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	/* Allocations that may wait fail as well, of any size; without a word for each. */
	ASSERT_EQ(0, write_file(FAULTS "failslab/ignore-gfp-wait", "N"));
	ASSERT_EQ(0, write_file(FAULTS "failslab/verbose", "0"));
	ASSERT_EQ(0, write_file(FAULTS "fail_page_alloc/ignore-gfp-wait", "N"));
	ASSERT_EQ(0, write_file(FAULTS "fail_page_alloc/min-order", "0"));
	ASSERT_EQ(0, write_file(FAULTS "fail_page_alloc/verbose", "0"));
}

FIXTURE_TEARDOWN(fault)
{
	close(self->fd);
}

/* Lets the @nth allocation of a task fail from now on; 0: none. */
static int fail(const char *task, int nth)
{
	char path[64], number[16];

	snprintf(path, sizeof(path), "/proc/%s/fail-nth", task);
	snprintf(number, sizeof(number), "%d", nth);
	return write_file(path, number);
}

/* How many are left until one fails: 0 if one has. */
static int left(const char *task)
{
	char path[64], number[16] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/fail-nth", task);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	read(fd, number, sizeof(number) - 1);
	close(fd);
	return atoi(number);
}

static void fail_each(struct __test_metadata *_metadata, int fd, const char *task)
{
	int kind, nth;

	for (kind = 0; kind < KTHREAD_TEST_KINDS; kind++) {
		int failed = 0, survived = 0;

		for (nth = 1; nth < 200; nth++) {
			struct kthread_test_counts counts;
			int ret;

			ASSERT_EQ(0, fail(task, nth));
			ret = ioctl(fd, KTHREAD_TEST_KIND, kind) ? errno : 0;
			if (left(task)) {
				/* There are no more. */
				ASSERT_EQ(0, fail(task, 0));
				EXPECT_EQ(0, ret);
				break;
			}
			ASSERT_EQ(0, ioctl(fd, KTHREAD_TEST_COUNTS, &counts));
			EXPECT_EQ(counts.made, counts.dropped);
			if (ret) {
				/* EAGAIN is what fork() says of some. */
				EXPECT_TRUE(ret == ENOMEM || ret == EAGAIN);
				failed++;
			} else {
				survived++;
			}
		}
		TH_LOG("kind %d: %d allocations failed it, %d did not", kind, failed, survived);
		EXPECT_LT(0, failed);
		EXPECT_GT(200, nth);
		/* And it works again. */
		EXPECT_EQ(0, ioctl(fd, KTHREAD_TEST_KIND, kind));
	}
}

/* Those of who makes the thread or the worker. */
TEST_F(fault, of_the_caller)
{
	fail_each(_metadata, self->fd, "self");
}

/* Those of the kernel's own thread, which makes all others: stacks, for example. */
TEST_F(fault, of_the_maker_of_threads)
{
	fail_each(_metadata, self->fd, "2");
}

TEST_HARNESS_MAIN
