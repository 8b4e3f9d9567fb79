// SPDX-License-Identifier: GPL-2.0
/*
 * Submits one asynchronous read of /dev/iocbaio and exits without waiting for its completion.
 */
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	static char buffer[8];
	struct iocb cb = { .aio_lio_opcode = IOCB_CMD_PREAD, .aio_nbytes = 8 }, *list = &cb;
	aio_context_t context = 0;

	cb.aio_fildes = open("/dev/iocbaio", O_RDONLY);
	cb.aio_buf = (unsigned long)buffer;
	if (syscall(SYS_io_setup, 1, &context) || syscall(SYS_io_submit, context, 1, &list) != 1)
		return 1;
	puts("submitted");
	return 0;
}
