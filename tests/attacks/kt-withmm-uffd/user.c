// SPDX-License-Identifier: GPL-2.0
/* Passes memory with unserved page faults (userfaultfd) to the driver. */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int uffd = syscall(SYS_userfaultfd, 0), fd = open("/dev/withuffd", O_RDWR);
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (uffd < 0 || fd < 0 || page == MAP_FAILED || ioctl(uffd, UFFDIO_API, &api)) {
		perror("withuffd");
		return 1;
	}
	reg.range.start = (unsigned long)page;
	reg.range.len = 4096;
	if (ioctl(uffd, UFFDIO_REGISTER, &reg)) {
		perror("UFFDIO_REGISTER");
		return 1;
	}
	/* The child keeps the userfaultfd open: the exit of this process does not end the wait. */
	if (fork() == 0) {
		close(fd);
		sleep(1000);
		return 0;
	}
	if (ioctl(fd, 0xBB01, page)) {
		perror("ioctl");
		return 1;
	}
	sleep(1);
	puts("ready");
	return 0;
}
