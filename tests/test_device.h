/* SPDX-License-Identifier: GPL-2.0 */
/* /dev/test-device: the ioctls that device_test calls. */
#ifndef _TEST_DEVICE_H
#define _TEST_DEVICE_H

#include <linux/ioctl.h>

/* Closes a descriptor; the file is dropped in the ioctl. */
#define DEVICE_TEST_TAKE		_IO(0xBF, 1)
/*
 * Closes a descriptor; a kernel thread drops the file while the ioctl still runs. Returns the
 * number of files of these devices that were released before the end of the ioctl.
 */
#define DEVICE_TEST_TAKE_BY_THREAD	_IO(0xBF, 2)
/* Closes a descriptor; the file is leaked. */
#define DEVICE_TEST_TAKE_FORGET		_IO(0xBF, 3)
/*
 * Calls each function in the interrupt of a timer. The argument is 0, or the pid of a tracee.
 * Returns one bit per call with an unexpected result.
 */
#define DEVICE_TEST_IN_INTERRUPT	_IO(0xBF, 4)
/* Sets the action of the next open() of /dev/test-plain, an enum device_test_open. */
#define DEVICE_TEST_NEXT_OPEN		_IO(0xBF, 5)
/* Register /dev/test-plain, and drop that registration. */
#define DEVICE_TEST_REGISTER		_IO(0xBF, 6)
#define DEVICE_TEST_DROP		_IO(0xBF, 7)
/* Returns the number of files of these devices that were released. */
#define DEVICE_TEST_RELEASED		_IO(0xBF, 8)
/* Registers and drops a device; the argument is the number of rounds. */
#define DEVICE_TEST_CHURN		_IO(0xBF, 9)
/* Tries to register a device without a name. */
#define DEVICE_TEST_NO_NAME		_IO(0xBF, 10)
/* Returns the number of descriptors of /dev/test-device that were closed. */
#define DEVICE_TEST_FLUSHED		_IO(0xBF, 11)
/* Tries to register devices with permissions that are refused. */
#define DEVICE_TEST_BAD_MODES		_IO(0xBF, 12)

enum device_test_open {
	DEVICE_TEST_OPEN,
	/* Drops the device's own registration. */
	DEVICE_TEST_OPEN_DROPS,
	/* A thread drops the device's own registration, and open() waits for the thread. */
	DEVICE_TEST_OPEN_THREAD_DROPS,
	/* Registers another device; open() fails with the error of the registration. */
	DEVICE_TEST_OPEN_REGISTERS,
	/* A thread registers another device, and open() waits for the thread. */
	DEVICE_TEST_OPEN_THREAD_REGISTERS,
	/* Fails with EDOM. */
	DEVICE_TEST_OPEN_FAILS,
};

#endif
