/* SPDX-License-Identifier: GPL-2.0 */
/* kselftest's harness, for machines that are emulated and kernels that check everything. */
#ifndef _TETHER_HARNESS_H
#define _TETHER_HARNESS_H

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"

/* In seconds. A hang is found by it, slowness is not one. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 600

/* Returns 0, or why not. */
static inline int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

#endif
