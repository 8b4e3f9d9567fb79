/* SPDX-License-Identifier: GPL-2.0 */
/* /dev/test-device: what device_test drives. */
#ifndef _TEST_DEVICE_H
#define _TEST_DEVICE_H

#include <linux/ioctl.h>

/* Closes a descriptor; the file is dropped in the ioctl. */
#define DEVICE_TEST_TAKE		_IO(0xBF, 1)
/*
 * Closes a descriptor; the file is dropped by a kernel thread while the ioctl still runs. Returns
 * how many files of these devices have been released before the ioctl ends.
 */
#define DEVICE_TEST_TAKE_BY_THREAD	_IO(0xBF, 2)
/* Closes a descriptor; the file is leaked. */
#define DEVICE_TEST_TAKE_FORGET		_IO(0xBF, 3)
/*
 * Calls each function in a timer's interrupt; the argument is 0, or the pid of a tracee. Returns a
 * bit for each call that has done something else than it should.
 */
#define DEVICE_TEST_IN_INTERRUPT	_IO(0xBF, 4)
/* What the next open() of /dev/test-plain does, an enum device_test_open. */
#define DEVICE_TEST_NEXT_OPEN		_IO(0xBF, 5)
/* Registers /dev/test-plain, and drops that registration. */
#define DEVICE_TEST_REGISTER		_IO(0xBF, 6)
#define DEVICE_TEST_DROP		_IO(0xBF, 7)
/* Returns how many files of these devices have been released. */
#define DEVICE_TEST_RELEASED		_IO(0xBF, 8)
/* Registers and drops a device so many times. */
#define DEVICE_TEST_CHURN		_IO(0xBF, 9)
/* Registers a device without a name. */
#define DEVICE_TEST_NO_NAME		_IO(0xBF, 10)

enum device_test_open {
	DEVICE_TEST_OPEN,
	/* Drops the device's own registration. */
	DEVICE_TEST_OPEN_DROPS,
	/* Lets a thread do so, and waits for it. */
	DEVICE_TEST_OPEN_THREAD_DROPS,
	/* Registers another device; the error is that of open(). */
	DEVICE_TEST_OPEN_REGISTERS,
	/* Lets a thread do so, and waits for it. */
	DEVICE_TEST_OPEN_THREAD_REGISTERS,
	/* Fails with EDOM. */
	DEVICE_TEST_OPEN_FAILS,
};

#endif
