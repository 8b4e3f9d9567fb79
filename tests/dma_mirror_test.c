// SPDX-License-Identifier: GPL-2.0
/*
 * QEMU's edu device copies pages of this process by DMA: test_dma_mirror is loaded for a part of
 * its memory. Needs the module tether, and test_dma_mirror in the directory TETHER_MODULES.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "modules.h"

#define PAGE	4096UL
#define PAGES	16
#define COPY	_IOW(0xBD, 1, uint64_t[2])
#define FRAME	_IO(0xBD, 2)

FIXTURE(dma)
{
	int fd;
	int pagemap;
	char *memory;
};

static int load_for(const void *start, size_t length)
{
	char parameters[64];

	snprintf(parameters, sizeof(parameters), "start=%lu length=%lu", (uintptr_t)start, length);
	return load_with("test_dma_mirror", parameters);
}

FIXTURE_SETUP(dma)
{
	int i;

	self->memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);
	ASSERT_NE(MAP_FAILED, self->memory);
	madvise(self->memory, PAGES * PAGE, MADV_NOHUGEPAGE);
	for (i = 0; i < PAGES; i++)
		memset(self->memory + i * PAGE, 'a' + i, PAGE);
	ASSERT_EQ(0, load_for(self->memory, PAGES * PAGE));
	self->fd = open("/dev/test-dma-mirror", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd) TH_LOG("is there an edu device?");
	self->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->pagemap);
}

FIXTURE_TEARDOWN(dma)
{
	close(self->pagemap);
	close(self->fd);
	EXPECT_EQ(0, syscall(SYS_delete_module, "test_dma_mirror", O_NONBLOCK));
}

static int copy(int fd, const char *from, char *to)
{
	uint64_t pages[2] = { (uintptr_t)from, (uintptr_t)to };

	return ioctl(fd, COPY, pages) ? -errno : 0;
}

/* Returns the DMA page number of a page, and its physical page number. */
static long device_frame(int fd, const char *page)
{
	return ioctl(fd, FRAME, page);
}

static long frame(int pagemap, const char *page)
{
	uint64_t entry;

	if (pread(pagemap, &entry, sizeof(entry), (uintptr_t)page / PAGE * 8) != sizeof(entry))
		return -1;
	return entry >> 63 ? entry & ((1ULL << 55) - 1) : 0;
}

static int filled(const char *page, char with)
{
	return page[0] == with && !memcmp(page, page + 1, PAGE - 1);
}

TEST_F(dma, copy)
{
	EXPECT_EQ(0, device_frame(self->fd, self->memory));
	ASSERT_EQ(0, copy(self->fd, self->memory, self->memory + PAGE));
	EXPECT_TRUE(filled(self->memory, 'a'));
	EXPECT_TRUE(filled(self->memory + PAGE, 'a'));
	EXPECT_TRUE(filled(self->memory + 2 * PAGE, 'c'));
	/* Without an IOMMU, the DMA address is the physical address. */
	EXPECT_EQ(frame(self->pagemap, self->memory), device_frame(self->fd, self->memory));
	EXPECT_EQ(frame(self->pagemap, self->memory + PAGE),
		  device_frame(self->fd, self->memory + PAGE));
}

/* A page that is mapped for reading is mapped for writing when the device writes. */
TEST_F(dma, read_then_write)
{
	ASSERT_EQ(0, copy(self->fd, self->memory, self->memory + PAGE));
	ASSERT_EQ(0, copy(self->fd, self->memory + 2 * PAGE, self->memory));
	EXPECT_TRUE(filled(self->memory, 'c'));
	EXPECT_TRUE(filled(self->memory + PAGE, 'a'));
	EXPECT_EQ(frame(self->pagemap, self->memory), device_frame(self->fd, self->memory));
}

/* A page that is removed from the process is removed from the device. */
TEST_F(dma, invalidate)
{
	ASSERT_EQ(0, copy(self->fd, self->memory, self->memory + PAGE));
	ASSERT_EQ(0, madvise(self->memory, PAGE, MADV_DONTNEED));
	EXPECT_EQ(0, device_frame(self->fd, self->memory));
	EXPECT_NE(0, device_frame(self->fd, self->memory + PAGE));
	/* The device reads the page that is mapped now. */
	ASSERT_EQ(0, copy(self->fd, self->memory, self->memory + PAGE));
	EXPECT_TRUE(filled(self->memory + PAGE, 0));
	ASSERT_EQ(0, mprotect(self->memory + PAGE, PAGE, PROT_READ));
	EXPECT_EQ(0, device_frame(self->fd, self->memory + PAGE));
	EXPECT_EQ(-EPERM, copy(self->fd, self->memory + 2 * PAGE, self->memory + PAGE));
	EXPECT_TRUE(filled(self->memory + PAGE, 0));
	ASSERT_EQ(0, munmap(self->memory, PAGE));
	EXPECT_EQ(-EFAULT, copy(self->fd, self->memory, self->memory + 3 * PAGE));
	EXPECT_EQ(-EINVAL, copy(self->fd, self->memory + PAGES * PAGE, self->memory + 3 * PAGE));
}

/* A page that is shared with a child is copied before the device writes to it. */
TEST_F(dma, child)
{
	int status, ready[2];
	char byte;
	pid_t child;

	ASSERT_EQ(0, copy(self->fd, self->memory, self->memory + PAGE));
	ASSERT_EQ(0, pipe(ready));
	child = fork();
	if (child == 0) {
		if (copy(self->fd, self->memory + 2 * PAGE, self->memory) != -EPERM)
			_exit(1);
		close(ready[1]);
		/* Wait until the parent's device has written. */
		if (read(ready[0], &byte, 1) != 0)
			_exit(2);
		_exit(filled(self->memory, 'a') ? 0 : 3);
	}
	ASSERT_EQ(0, copy(self->fd, self->memory + 2 * PAGE, self->memory));
	EXPECT_TRUE(filled(self->memory, 'c'));
	close(ready[1]);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	close(ready[0]);
}

TEST_HARNESS_MAIN
