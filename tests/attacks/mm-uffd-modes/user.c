// SPDX-License-Identifier: GPL-2.0
/*
 * Lets a device (rust_hmm_mirror.ko) look up memory of each kind that is registered with a
 * userfaultfd in each mode.
 *
 * bring_in() in hmm.rs tests userfaultfd_armed() to know whether a page fault has released
 * the mmap_lock. A wrong answer would release the lock twice or leave it locked.
 *
 * A sound library leaves the mmap_lock as it was. No look-up takes longer than eight seconds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <linux/userfaultfd.h>
#ifndef UFFDIO_REGISTER_MODE_RWP
#define UFFDIO_REGISTER_MODE_RWP (1ull << 3)
#endif
struct cmd { uint64_t addr, ptr, npages, cpages, faults; };
#define READ _IOWR('H', 0, struct cmd)
#define WRITE _IOWR('H', 1, struct cmd)
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec * 1e-9; }
int main(void)
{
	static char buf[4 << 20];
	int d = open("/dev/hmm_dmirror0", O_RDWR), bad = 0;
	for (int kind = 0; kind < 5; kind++) for (int mode = 1; mode <= 8; mode <<= 1) for (int populate = 0; populate < 2; populate++) for (int sig = 0; sig < 2; sig++) {
		size_t size = kind >= 3 ? 2 << 20 : 16384;
		int f = -1, u = syscall(SYS_userfaultfd, O_CLOEXEC);
		struct uffdio_api api = { UFFD_API, sig ? UFFD_FEATURE_SIGBUS : 0 };
		char *p;
		if (u < 0 || ioctl(u, UFFDIO_API, &api)) { perror("uffd"); return 1; }
		if (kind == 0) p = mmap(0, size, 3, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);
		else if (kind == 1 || kind == 2) { f = memfd_create("m", 0); ftruncate(f, size); p = mmap(0, size, 3, kind == 1 ? MAP_SHARED : MAP_PRIVATE, f, 0); }
		else if (kind == 3) p = mmap(0, size, 3, MAP_PRIVATE|MAP_ANONYMOUS|MAP_HUGETLB, -1, 0);
		else { f = memfd_create("h", MFD_HUGETLB); if (f < 0 || ftruncate(f, size)) { close(u); continue; } p = mmap(0, size, 3, MAP_SHARED, f, 0); }
		if (p == MAP_FAILED) { close(u); if (f >= 0) close(f); continue; }
		if (populate) memset(p, 7, size);
		struct uffdio_register r = { { (uintptr_t)p, size }, mode };
		if (ioctl(u, UFFDIO_REGISTER, &r)) { munmap(p, size); close(u); if (f >= 0) close(f); continue; }
		if (mode == UFFDIO_REGISTER_MODE_WP) { struct uffdio_writeprotect w = { { (uintptr_t)p, size }, UFFDIO_WRITEPROTECT_MODE_WP }; ioctl(u, UFFDIO_WRITEPROTECT, &w); }
		if (mode == UFFDIO_REGISTER_MODE_MINOR && f >= 0) { char *q = mmap(0, size, 3, MAP_SHARED, f, 0); memset(q, 5, size); munmap(q, size); madvise(p, size, MADV_DONTNEED); }
		for (int write_ = 0; write_ < 2; write_++) {
			struct cmd c = { (uintptr_t)p, (uintptr_t)buf, size / 4096 < 4 ? size / 4096 : 4 };
			double b = now(); int e = ioctl(d, write_ ? WRITE : READ, &c) ? errno : 0; b = now() - b;
			printf("kind %d mode %d pop %d sig %d %s: %s %.1f s\n", kind, mode, populate, sig, write_ ? "write" : "read", strerror(e), b); fflush(stdout);
			if (b > 8) bad++;
			/* These calls hang, or lockdep warns, if the mmap_lock is still held or was released twice. */
			for (int i = 0; i < 3; i++) { char *q = mmap(0, 4096, 3, MAP_PRIVATE|MAP_ANONYMOUS|MAP_POPULATE, -1, 0); munmap(q, 4096); }
		}
		close(u); munmap(p, size); if (f >= 0) close(f);
	}
	printf("end, %d too long\n", bad);
	return 0;
}
