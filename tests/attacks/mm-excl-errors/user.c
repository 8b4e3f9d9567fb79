// SPDX-License-Identifier: GPL-2.0
/*
 * Calls make_exclusive() of a mirror (rust_hmm_mirror.ko) while another thread zaps the page
 * (mode 0), zaps the page of a mapping with a userfaultfd (mode 1), or changes the protection of
 * the page (mode 2).
 *
 * make_exclusive() looks the page up and then calls make_device_exclusive(), which fails if the
 * page was lost in between. The error does not apply to the page of the next look-up: the
 * monitor of the userfaultfd serves each fault, and the mapping exists at any time.
 *
 * A sound library looks the page up again if it was invalidated before the error. EFAULT is
 * never returned.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <linux/userfaultfd.h>
struct cmd { uint64_t addr, ptr, npages, cpages, faults; };
#define EXCLUSIVE _IOWR('H', 5, struct cmd)
static char *p; static int uffd; static volatile int stop; static int mode;
static void *serve(void *a)
{
	static char page[4096] = "served";
	for (;;) {
		struct uffd_msg m; struct pollfd f = { uffd, POLLIN, 0 };
		if (poll(&f, 1, 100) < 0 || stop) return 0;
		if (read(uffd, &m, sizeof(m)) != sizeof(m)) continue;
		struct uffdio_copy c = { .dst = m.arg.pagefault.address & ~4095ULL, .src = (uintptr_t)page, .len = 4096 };
		ioctl(uffd, UFFDIO_COPY, &c);
	}
}
static void *churn(void *a)
{
	while (!stop) {
		if (mode == 2) { mprotect(p, 4096, 1); mprotect(p, 4096, 3); }
		else madvise(p, 4096, MADV_DONTNEED);
		for (volatile int i = rand() % 3000; i > 0; i--) ;
	}
	return 0;
}
int main(int argc, char **argv)
{
	pthread_t t, s; long by[200] = { 0 }; static char data[4096]; time_t end = time(0) + atoi(argv[2]); long n = 0;
	int d = open("/dev/hmm_dmirror0", O_RDWR);
	mode = atoi(argv[1]);
	p = mmap(0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mode == 1) {
		struct uffdio_api api = { .api = UFFD_API };
		uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
		if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api)) { perror("userfaultfd"); return 1; }
		struct uffdio_register r = { .range = { (uintptr_t)p, 4096 }, .mode = UFFDIO_REGISTER_MODE_MISSING };
		if (ioctl(uffd, UFFDIO_REGISTER, &r)) { perror("register"); return 1; }
		pthread_create(&s, 0, serve, 0);
	} else
		p[0] = 1;
	pthread_create(&t, 0, churn, 0);
	for (; time(0) < end; n++) {
		struct cmd c = { (uintptr_t)p, (uintptr_t)data, 1 };
		by[ioctl(d, EXCLUSIVE, &c) ? errno : 0]++;
		usleep(rand() % 50);
	}
	stop = 1;
	printf("%s: n %ld ok %ld", mode == 1 ? "userfaultfd" : mode == 2 ? "mprotect" : "plain", n, by[0]);
	for (int i = 1; i < 200; i++) if (by[i]) printf(" %s %ld", strerrorname_np(i), by[i]);
	printf("\n");
	fflush(stdout);
	_exit(0);
}
