/* SPDX-License-Identifier: GPL-2.0 */
/* The kselftest harness, with time limits for emulated machines and debug kernels. */
#ifndef _TETHER_HARNESS_H
#define _TETHER_HARNESS_H

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"

/* In seconds. The time-out detects hangs; a slow machine must not reach it. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 600

/* Returns 0, or the error. */
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
