// SPDX-License-Identifier: GPL-2.0
/*
 * Binder closes the descriptors that a process has received when the process frees the buffer. The
 * file is released when the process has left that system call.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/android/binder.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#define MAP_SIZE	(128 << 10)

/* An array of one descriptor, in a buffer of the transaction. */
struct objects {
	struct binder_buffer_object buffer;
	struct binder_fd_array_object array;
};

FIXTURE(binder)
{
	char dir[32];
	char device[64];
	int pipe[2];
	pid_t server;
	int ready[2];
};

static int open_binder(const char *device)
{
	int fd = open(device, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (mmap(NULL, MAP_SIZE, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED)
		return -1;
	return fd;
}

static int write_commands(int fd, void *commands, size_t size)
{
	struct binder_write_read bwr = {
		.write_size = size,
		.write_buffer = (uintptr_t)commands,
	};

	return ioctl(fd, BINDER_WRITE_READ, &bwr);
}

/* Reads until @wanted arrives, and copies its transaction. Returns 0, or -1. */
static int read_until(int fd, __u32 wanted, struct binder_transaction_data *transaction)
{
	for (;;) {
		char buffer[512];
		struct binder_write_read bwr = {
			.read_size = sizeof(buffer),
			.read_buffer = (uintptr_t)buffer,
		};
		size_t at = 0;

		if (ioctl(fd, BINDER_WRITE_READ, &bwr))
			return -1;
		while (at < bwr.read_consumed) {
			__u32 command;

			memcpy(&command, buffer + at, sizeof(command));
			at += sizeof(command);
			if (command == wanted) {
				memcpy(transaction, buffer + at, sizeof(*transaction));
				return 0;
			}
			if (command == BR_FAILED_REPLY || command == BR_DEAD_REPLY)
				return -1;
			at += _IOC_SIZE(command);
		}
	}
}

static int free_buffer(int fd, binder_uintptr_t buffer)
{
	struct {
		__u32 command;
		binder_uintptr_t buffer;
	} __attribute__((packed)) commands = { BC_FREE_BUFFER, buffer };

	return write_commands(fd, &commands, sizeof(commands));
}

/* The context manager: receives one descriptor, and frees the buffer. Returns the exit code. */
static int serve(const char *device, int ready)
{
	struct flat_binder_object manager = { .flags = FLAT_BINDER_FLAG_ACCEPTS_FDS };
	struct binder_transaction_data transaction;
	const struct binder_buffer_object *object;
	__u32 enter = BC_ENTER_LOOPER;
	struct {
		__u32 command;
		struct binder_transaction_data data;
	} __attribute__((packed)) reply = { .command = BC_REPLY };
	int fd = open_binder(device), received;

	if (fd < 0 || ioctl(fd, BINDER_SET_CONTEXT_MGR_EXT, &manager))
		return 1;
	if (write_commands(fd, &enter, sizeof(enter)) || write(ready, "", 1) != 1)
		return 2;
	if (read_until(fd, BR_TRANSACTION, &transaction))
		return 3;
	object = (const void *)(uintptr_t)transaction.data.ptr.buffer;
	received = *(const int *)(uintptr_t)object->buffer;
	if (fcntl(received, F_GETFD) < 0)
		return 4;
	if (free_buffer(fd, transaction.data.ptr.buffer))
		return 5;
	/* The descriptor is closed, and the file was released at the end of the system call. */
	if (fcntl(received, F_GETFD) != -1 || errno != EBADF)
		return 6;
	if (write_commands(fd, &reply, sizeof(reply)))
		return 7;
	/* This process lives until the test has seen the end of the pipe. */
	pause();
	return 0;
}

FIXTURE_SETUP(binder)
{
	char byte;

	snprintf(self->dir, sizeof(self->dir), "/tmp/binder.XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	if (mount("binder", self->dir, "binder", 0, NULL)) {
		rmdir(self->dir);
		SKIP(return, "needs CONFIG_ANDROID_BINDER_IPC_RUST, and root");
	}
	snprintf(self->device, sizeof(self->device), "%s/binder", self->dir);
	ASSERT_EQ(0, pipe2(self->pipe, O_CLOEXEC));
	ASSERT_EQ(0, pipe(self->ready));
	self->server = fork();
	ASSERT_LE(0, self->server);
	if (self->server == 0) {
		close(self->pipe[0]);
		close(self->pipe[1]);
		_exit(serve(self->device, self->ready[1]));
	}
	close(self->ready[1]);
	ASSERT_EQ(1, read(self->ready[0], &byte, 1));
}

FIXTURE_TEARDOWN(binder)
{
	if (self->server > 0) {
		kill(self->server, SIGKILL);
		waitpid(self->server, NULL, 0);
	}
	umount2(self->dir, MNT_DETACH);
	rmdir(self->dir);
}

TEST_F(binder, received_descriptor_is_closed)
{
	int fds[2] = { self->pipe[1] }, fd = open_binder(self->device), status = 0;
	struct objects objects = {
		.buffer = {
			.hdr.type = BINDER_TYPE_PTR,
			.buffer = (uintptr_t)fds,
			.length = sizeof(fds),
		},
		.array = {
			.hdr.type = BINDER_TYPE_FDA,
			.num_fds = 1,
			.parent = 0,
			.parent_offset = 0,
		},
	};
	binder_size_t offsets[] = { 0, offsetof(struct objects, array) };
	struct {
		__u32 command;
		struct binder_transaction_data_sg sg;
	} __attribute__((packed)) send = {
		.command = BC_TRANSACTION_SG,
		.sg = {
			.transaction_data = {
				.code = 1,
				.flags = TF_ACCEPT_FDS,
				.data_size = sizeof(objects),
				.offsets_size = sizeof(offsets),
				.data.ptr.buffer = (uintptr_t)&objects,
				.data.ptr.offsets = (uintptr_t)offsets,
			},
			.buffers_size = sizeof(fds),
		},
	};
	struct binder_transaction_data reply;
	struct pollfd end = { .fd = self->pipe[0], .events = POLLIN };

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, write_commands(fd, &send, sizeof(send)));
	if (read_until(fd, BR_REPLY, &reply)) {
		waitpid(self->server, &status, WNOHANG);
		ASSERT_EQ(0, status) TH_LOG("the server has failed: %d", WEXITSTATUS(status));
	}
	EXPECT_EQ(0, free_buffer(fd, reply.data.ptr.buffer));
	/* The last writers: this descriptor, and the one that the server has received. */
	close(self->pipe[1]);
	EXPECT_EQ(1, poll(&end, 1, 5000));
	EXPECT_EQ(POLLHUP, end.revents);
	EXPECT_EQ(0, waitpid(self->server, &status, WNOHANG));
	close(fd);
}

TEST_HARNESS_MAIN
