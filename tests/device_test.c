// SPDX-License-Identifier: GPL-2.0
/*
 * Misc devices, and functions that are called in interrupt context. Needs the module tether; loads
 * and unloads test_device from the directory TETHER_MODULES.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "modules.h"
#include "test_device.h"

#define DEVICE	"/dev/test-device"
#define PLAIN	"/dev/test-plain"

/* Returns the descriptor, or the error. devtmpfs creates and removes device nodes with a delay. */
static int try_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int open_there(const char *path)
{
	int tries, fd = -ENOENT;

	for (tries = 0; tries < 500 && fd == -ENOENT; tries++) {
		fd = try_open(path);
		if (fd == -ENOENT)
			usleep(10000);
	}
	return fd;
}

static bool comes_to_be(const char *path, bool there)
{
	int tries;

	for (tries = 0; tries < 500; tries++) {
		if ((access(path, F_OK) == 0) == there)
			return true;
		usleep(10000);
	}
	return false;
}

/* Unloads the module. Retries, because the module may be in use for a moment. */
static int unload_soon(void)
{
	int tries, ret = -EAGAIN;

	for (tries = 0; tries < 100 && ret == -EAGAIN; tries++) {
		ret = unload("test_device");
		if (ret == -EAGAIN)
			usleep(10000);
	}
	return ret;
}

FIXTURE(init)
{
};

FIXTURE_SETUP(init)
{
}

FIXTURE_TEARDOWN(init)
{
	unload("test_device");
	unload("filler");
}

/*
 * While init runs, no file can be opened. If init fails, no file is left behind; the caller then
 * loads another module in its place, to detect calls into the freed text.
 */
static void open_during_init(struct __test_metadata *_metadata, const char *parameters,
			     int expected)
{
	int status, fd, refused = 0;
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (child == 0)
		_exit(load_with("test_device", parameters) == expected ? 0 : 1);
	ASSERT_TRUE(comes_to_be(DEVICE, true));
	while (waitpid(child, &status, WNOHANG) == 0) {
		fd = try_open(refused % 2 ? DEVICE : PLAIN);
		if (fd >= 0) {
			/* Init has just finished. */
			EXPECT_EQ(0, expected);
			close(fd);
			ASSERT_EQ(child, waitpid(child, &status, 0));
			break;
		}
		if (fd == -ENODEV)
			refused++;
		else
			EXPECT_EQ(-ENOENT, fd);
		usleep(1000);
	}
	EXPECT_EQ(0, status);
	TH_LOG("%d refusals", refused);
	EXPECT_LT(10, refused);
}

TEST_F(init, succeeds)
{
	int fd;

	open_during_init(_metadata, "milliseconds=1000", 0);
	fd = open_there(DEVICE);
	ASSERT_LE(0, fd);
	close(fd);
	EXPECT_EQ(0, unload_soon());
}

TEST_F(init, fails)
{
	int round;

	for (round = 0; round < 3; round++) {
		open_during_init(_metadata, "milliseconds=500 fail=1", -EUCLEAN);
		EXPECT_TRUE(comes_to_be(DEVICE, false));
		EXPECT_TRUE(comes_to_be(PLAIN, false));
		load("filler");
		unload("filler");
	}
}

/* Registrations leaked by a module that exits, and by a module with an init that fails. */
TEST_F(init, leaks)
{
	int fd;

	ASSERT_EQ(0, load_with("test_device", "forget=1"));
	fd = open_there(DEVICE);
	ASSERT_LE(0, fd);
	close(fd);
	EXPECT_EQ(0, unload_soon());
	EXPECT_EQ(-ENOENT, try_open(DEVICE));
	EXPECT_EQ(-ENOENT, try_open(PLAIN));
	ASSERT_EQ(-EUCLEAN, load_with("test_device", "forget=1 fail=1"));
	EXPECT_EQ(-ENOENT, try_open(DEVICE));
	EXPECT_EQ(-ENOENT, try_open(PLAIN));
	EXPECT_EQ(0, outstanding("test_device "));
}

/* A thread that outlives the request to stop uses a registration that was ended, and drops it. */
TEST_F(init, lingers)
{
	int round;

	for (round = 0; round < 5; round++) {
		ASSERT_EQ(round % 2 ? -EUCLEAN : 0,
			  load_with("test_device", round % 2 ? "linger=1 fail=1" : "linger=1"));
		if (round % 2 == 0)
			EXPECT_EQ(0, unload_soon());
		EXPECT_EQ(-ENOENT, try_open(PLAIN));
		EXPECT_EQ(0, outstanding("test_device "));
	}
}

TEST_F(init, many_times)
{
	int round;

	for (round = 0; round < 100; round++) {
		ASSERT_EQ(0, load_with("test_device", round % 2 ? "forget=1" : ""));
		ASSERT_EQ(0, unload_soon());
	}
}

FIXTURE(device)
{
	int fd;
};

FIXTURE_SETUP(device)
{
	ASSERT_EQ(0, load("test_device"));
	self->fd = open_there(DEVICE);
	ASSERT_LE(0, self->fd);
	ASSERT_TRUE(comes_to_be(PLAIN, true));
}

FIXTURE_TEARDOWN(device)
{
	close(self->fd);
	EXPECT_EQ(0, unload_soon());
	EXPECT_EQ(-ENOENT, try_open(DEVICE));
	EXPECT_EQ(0, outstanding("test_device "));
}

static int request(int fd, unsigned long command, long argument)
{
	int ret = ioctl(fd, command, argument);

	return ret < 0 ? -errno : ret;
}

/* Returns the events that a file is ready for. */
static int ready(int fd, int timeout)
{
	struct pollfd it = { .fd = fd, .events = POLLIN | POLLOUT };

	return poll(&it, 1, timeout) < 0 ? -errno : it.revents;
}

static void *write_later(void *fd)
{
	usleep(100000);
	write((long)fd, "abc", 3);
	return NULL;
}

TEST_F(device, each_operation)
{
	struct epoll_event event = { .events = EPOLLIN };
	char buffer[4096], path[64];
	pthread_t writer;
	void *memory;
	int epoll, other;

	EXPECT_EQ(0, ready(self->fd, 0) & POLLIN);
	EXPECT_EQ(POLLOUT, ready(self->fd, 0));
	EXPECT_EQ(0, read(self->fd, buffer, sizeof(buffer)));
	epoll = epoll_create1(0);
	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, self->fd, &event));
	EXPECT_EQ(0, epoll_wait(epoll, &event, 1, 0));
	ASSERT_EQ(0, pthread_create(&writer, NULL, write_later, (void *)(long)self->fd));
	EXPECT_EQ(1, epoll_wait(epoll, &event, 1, 60000));
	pthread_join(writer, NULL);
	EXPECT_EQ(POLLIN | POLLOUT, ready(self->fd, 0));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->fd);
	other = open(path, O_RDONLY);
	ASSERT_LT(0, read(other, buffer, sizeof(buffer)));
	close(other);
	EXPECT_NE(NULL, strstr(buffer, "bytes:\t3\n"));
	EXPECT_EQ(3, read(self->fd, buffer, sizeof(buffer)));
	EXPECT_EQ(0, memcmp(buffer, "xxx", 3));
	/* The files of a device do not share their data. */
	other = open(DEVICE, O_RDWR | O_NONBLOCK);
	ASSERT_LE(0, other);
	EXPECT_EQ(2, write(self->fd, "ab", 2));
	EXPECT_EQ(-1, read(other, buffer, 1));
	EXPECT_EQ(EAGAIN, errno);
	close(other);
	memory = mmap(NULL, 4096, PROT_READ, MAP_SHARED, self->fd, 0);
	EXPECT_NE(MAP_FAILED, memory);
	munmap(memory, 4096);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 8192, PROT_READ, MAP_SHARED, self->fd, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-ENOTTY, request(self->fd, _IO(0xBF, 99), 0));
	close(epoll);
}

TEST_F(device, other_events)
{
	struct pollfd it = {
		.fd = self->fd,
		.events = POLLIN | POLLOUT | POLLPRI | POLLRDBAND | POLLWRBAND | POLLRDHUP,
	};

	ASSERT_EQ(7, write(self->fd, "abcdefg", 7));
	ASSERT_EQ(1, poll(&it, 1, 0));
	EXPECT_EQ(POLLPRI | POLLRDBAND | POLLWRBAND | POLLRDHUP, it.revents);
}

/* Each descriptor that is closed flushes the file, also in the exit of a process. */
TEST_F(device, flush)
{
	int before = request(self->fd, DEVICE_TEST_FLUSHED, 0);
	int other = open(DEVICE, O_RDWR | O_CLOEXEC), copy;
	pid_t pid;

	ASSERT_LE(0, other);
	copy = dup(other);
	ASSERT_EQ(3, write(other, "abc", 3));
	EXPECT_EQ(-1, close(copy));
	EXPECT_EQ(EDQUOT, errno);
	/* The descriptor is closed all the same. */
	EXPECT_EQ(-1, fcntl(copy, F_GETFD));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(before + 1, request(self->fd, DEVICE_TEST_FLUSHED, 0));
	EXPECT_EQ(-1, close(other));
	EXPECT_EQ(EDQUOT, errno);
	EXPECT_EQ(before + 2, request(self->fd, DEVICE_TEST_FLUSHED, 0));
	pid = fork();
	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	EXPECT_EQ(before + 3, request(self->fd, DEVICE_TEST_FLUSHED, 0));
}

TEST_F(device, permissions)
{
	struct stat node;

	ASSERT_EQ(0, stat(PLAIN, &node));
	EXPECT_EQ(0644, node.st_mode & 07777);
	ASSERT_EQ(0, stat(DEVICE, &node));
	EXPECT_EQ(0600, node.st_mode & 07777);
	EXPECT_EQ(0, request(self->fd, DEVICE_TEST_BAD_MODES, 0));
}

/* Operations that the driver does not implement. */
TEST_F(device, no_operation)
{
	struct epoll_event event = { .events = EPOLLIN };
	int fd = try_open(PLAIN), epoll = epoll_create1(0);
	char byte = 0;

	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, read(fd, &byte, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, write(fd, &byte, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-ENOTTY, request(fd, DEVICE_TEST_RELEASED, 0));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(POLLIN | POLLOUT, ready(fd, 0));
	EXPECT_EQ(-1, epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, lseek(fd, 0, SEEK_SET));
	EXPECT_EQ(ESPIPE, errno);
	close(epoll);
	close(fd);
}

/* Files and their mappings pin the module until release() has returned. */
TEST_F(device, pinned)
{
	void *memory;
	int fd;

	EXPECT_EQ(-EAGAIN, unload("test_device"));
	memory = mmap(NULL, 4096, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, memory);
	close(self->fd);
	EXPECT_EQ(-EAGAIN, unload("test_device"));
	munmap(memory, 4096);
	/* The release() of this file sleeps. */
	fd = open(DEVICE, O_RDWR | O_NONBLOCK);
	if (fork() == 0) {
		close(fd);
		_exit(0);
	}
	close(fd);
	ASSERT_EQ(0, unload_soon());
	wait(NULL);
	ASSERT_EQ(0, load("test_device"));
	self->fd = open_there(DEVICE);
	ASSERT_LE(0, self->fd);
	/* A file that could not be opened does not pin the module. */
	ASSERT_EQ(0, request(self->fd, DEVICE_TEST_NEXT_OPEN, DEVICE_TEST_OPEN_FAILS));
	EXPECT_EQ(-EDOM, open_there(PLAIN));
	close(self->fd);
	EXPECT_EQ(0, unload_soon());
	ASSERT_EQ(0, load("test_device"));
	self->fd = open_there(DEVICE);
	ASSERT_LE(0, self->fd);
}

/* open() drops its own device, or waits for a thread that drops it. */
TEST_F(device, dropped_in_open)
{
	unsigned int action;

	for (action = DEVICE_TEST_OPEN_DROPS; action <= DEVICE_TEST_OPEN_THREAD_DROPS; action++) {
		int fd;

		ASSERT_EQ(0, request(self->fd, DEVICE_TEST_NEXT_OPEN, action));
		fd = open_there(PLAIN);
		EXPECT_LE(0, fd);
		EXPECT_TRUE(comes_to_be(PLAIN, false));
		EXPECT_EQ(-ENODEV, request(self->fd, DEVICE_TEST_DROP, 0));
		/* The file still works, and another device can take the name. */
		EXPECT_EQ(POLLIN | POLLOUT, ready(fd, 0));
		ASSERT_EQ(0, request(self->fd, DEVICE_TEST_REGISTER, 0));
		close(fd);
		fd = open_there(PLAIN);
		EXPECT_LE(0, fd);
		close(fd);
	}
}

/* open() registers a device, or waits for a thread that registers a device: neither hangs. */
TEST_F(device, registered_in_open)
{
	int fd;

	ASSERT_EQ(0, request(self->fd, DEVICE_TEST_NEXT_OPEN, DEVICE_TEST_OPEN_REGISTERS));
	EXPECT_EQ(-EDEADLK, try_open(PLAIN));
	ASSERT_EQ(0, request(self->fd, DEVICE_TEST_NEXT_OPEN, DEVICE_TEST_OPEN_THREAD_REGISTERS));
	EXPECT_EQ(-EBUSY, try_open(PLAIN));
	fd = try_open(PLAIN);
	EXPECT_LE(0, fd);
	close(fd);
	EXPECT_EQ(0, request(self->fd, DEVICE_TEST_CHURN, 1));
}

TEST_F(device, same_name)
{
	EXPECT_EQ(0, request(self->fd, DEVICE_TEST_CHURN, 200));
	/* Two devices with the same name at the same time. */
	EXPECT_EQ(-EEXIST, request(self->fd, DEVICE_TEST_REGISTER, 0));
	EXPECT_EQ(-EINVAL, request(self->fd, DEVICE_TEST_NO_NAME, 0));
}

static volatile bool over;

static void *open_always(void *counts)
{
	unsigned int *count = counts;

	while (!over) {
		int fd = try_open(PLAIN);

		if (fd >= 0)
			close(fd);
		if (fd >= 0)
			count[0]++;
		else if (fd == -ENODEV || fd == -ENOENT)
			count[1]++;
		else
			count[2]++;
	}
	return NULL;
}

/* Files are opened while their device is dropped. */
TEST_F(device, open_against_drop)
{
	unsigned int counts[2][3] = {}, round;
	pthread_t opens[2];

	over = false;
	ASSERT_EQ(0, pthread_create(&opens[0], NULL, open_always, counts[0]));
	ASSERT_EQ(0, pthread_create(&opens[1], NULL, open_always, counts[1]));
	for (round = 0; round < 200; round++) {
		EXPECT_EQ(0, request(self->fd, DEVICE_TEST_DROP, 0));
		EXPECT_EQ(0, request(self->fd, DEVICE_TEST_REGISTER, 0));
		usleep(round % 8 * 1000);
	}
	over = true;
	pthread_join(opens[0], NULL);
	pthread_join(opens[1], NULL);
	TH_LOG("%u opened, %u refused", counts[0][0] + counts[1][0], counts[0][1] + counts[1][1]);
	EXPECT_LT(0, counts[0][0] + counts[1][0]);
	EXPECT_EQ(0, counts[0][2] + counts[1][2]);
}

/*
 * A file is released after the system call that closed its descriptor, even if another task drops
 * the file.
 */
TEST_F(device, file_waits_for_its_task)
{
	int fd, before = request(self->fd, DEVICE_TEST_RELEASED, 0);

	fd = try_open(PLAIN);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, request(self->fd, DEVICE_TEST_TAKE, fd));
	EXPECT_EQ(-1, fcntl(fd, F_GETFD));
	EXPECT_EQ(before + 1, request(self->fd, DEVICE_TEST_RELEASED, 0));
	fd = try_open(PLAIN);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, request(self->fd, DEVICE_TEST_TAKE_BY_THREAD, fd));
	EXPECT_EQ(-1, fcntl(fd, F_GETFD));
	EXPECT_EQ(before + 2, request(self->fd, DEVICE_TEST_RELEASED, 0));
	EXPECT_EQ(-EBADF, request(self->fd, DEVICE_TEST_TAKE, fd));
	/* Take the descriptor of the ioctl itself, which uses the file without a reference. */
	fd = try_open(DEVICE);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, request(fd, DEVICE_TEST_TAKE_BY_THREAD, fd));
	EXPECT_EQ(-1, fcntl(fd, F_GETFD));
	EXPECT_EQ(before + 3, request(self->fd, DEVICE_TEST_RELEASED, 0));
}

/*
 * A leaked file stays open. The test takes the file of a pipe, because a file of the module's own
 * devices would pin the module.
 */
TEST_F(device, file_is_leaked)
{
	int ends[2];
	char byte;

	ASSERT_EQ(0, pipe2(ends, O_NONBLOCK));
	ASSERT_EQ(0, request(self->fd, DEVICE_TEST_TAKE_FORGET, ends[1]));
	EXPECT_EQ(-1, fcntl(ends[1], F_GETFD));
	/* The write end is still open: no end of file. */
	EXPECT_EQ(-1, read(ends[0], &byte, 1));
	EXPECT_EQ(EAGAIN, errno);
	close(ends[0]);
}

static void *nothing(void *unused)
{
	return NULL;
}

/* Creates threads that exit at once, so that interrupts occur in tasks without a pid. */
static void *exit_always(void *unused)
{
	while (!over) {
		pthread_t thread;

		if (!pthread_create(&thread, NULL, nothing, NULL))
			pthread_join(thread, NULL);
	}
	return NULL;
}

TEST_F(device, in_interrupt)
{
	int status, round, before = request(self->fd, DEVICE_TEST_RELEASED, 0);
	pthread_t exits[2];
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (child == 0) {
		ptrace(PTRACE_TRACEME);
		raise(SIGSTOP);
		_exit(0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	over = false;
	ASSERT_EQ(0, pthread_create(&exits[0], NULL, exit_always, NULL));
	ASSERT_EQ(0, pthread_create(&exits[1], NULL, exit_always, NULL));
	for (round = 0; round < 300; round++) {
		int fd = try_open(PLAIN);

		ASSERT_LE(0, fd);
		ASSERT_EQ(100, dup2(fd, 100));
		close(fd);
		ASSERT_EQ(0, request(self->fd, DEVICE_TEST_IN_INTERRUPT, child));
	}
	over = true;
	pthread_join(exits[0], NULL);
	pthread_join(exits[1], NULL);
	EXPECT_EQ(before + 300, request(self->fd, DEVICE_TEST_RELEASED, 0));
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
}

TEST_HARNESS_MAIN
