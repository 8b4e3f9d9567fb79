// SPDX-License-Identifier: GPL-2.0
/*
 * Lets a device (rust_hmm_mirror.ko) write to pages that it has exclusively, and then moves, swaps,
 * copies or protects the pages.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/userfaultfd.h>
struct cmd { uint64_t addr, ptr, npages, cpages, faults; };
#define READ _IOWR('H', 0, struct cmd)
#define WRITE _IOWR('H', 1, struct cmd)
#define EXCLUSIVE _IOWR('H', 5, struct cmd)
struct move { uint64_t dst, src, len, mode; int64_t moved; };
#define MOVE _IOWR(0xAA, 0x05, struct move)
#define RWPROTECT _IOWR(0xAA, 0x09, struct uffdio_writeprotect)
#define HUGE (2ul << 20)
static int bad; static size_t size; static int kind;
static char want[HUGE] __attribute__((aligned(4096))), got[HUGE] __attribute__((aligned(4096)));
static const char *kinds[] = { "anon", "thp", "private-memfd" };
static char *aligned(size_t n) { char *p = mmap(0, n + HUGE, 0, MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE, -1, 0); return (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1)); }
static void echo(const char *n, const char *s) { int d = open(n, O_WRONLY); if (d >= 0) { write(d, s, strlen(s)); close(d); } }
static int dev(int d, int what, void *at, void *buf, size_t n) { struct cmd c = { (uintptr_t)at, (uintptr_t)buf, n / 4096 }; return ioctl(d, what, &c) ? errno : 0; }
static void check(const char *name, const char *by, char *p, size_t n) { for (size_t i = 0; i < n; i += 8) if (memcmp(p + i, want + i, 8)) { printf("BAD %s %s by %s: page %zu offset %zu: %016lx, not %016lx\n", kinds[kind], name, by, i / 4096, i % 4096, *(uint64_t *)(p + i), *(uint64_t *)(want + i)); bad++; return; } }
int main(void)
{
	static unsigned gen;
	for (kind = 0; kind < 3; kind++) for (int op = 0; op < 22; op++) {
		size = kind == 1 ? HUGE : 64 << 10;
		char *place = aligned(size), *dst = aligned(size), *at = place, *mem; int f = -1, r = 0, e = 0, u = -1; const char *name = "?";
		if (kind == 2) { f = memfd_create("m", 0); ftruncate(f, size); mem = mmap(place, size, 3, MAP_PRIVATE|MAP_FIXED, f, 0); }
		else { mem = mmap(place, size, 3, MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED, -1, 0); madvise(mem, size, kind ? 14 : 15); }
		memset(mem, 1, size);
		int d = open("/dev/hmm_dmirror0", O_RDWR), d2 = open("/dev/hmm_dmirror1", O_RDWR);
		if (op >= 10 && op <= 13) {
			u = syscall(SYS_userfaultfd, O_CLOEXEC);
			struct uffdio_api api = { UFFD_API, op == 10 ? 1 << 15 | 1 << 13 : op == 13 ? 1 << 18 | 1 << 17 : op == 12 ? 1 << 15 | 1 << 13 : 1 << 16 };
			if (ioctl(u, UFFDIO_API, &api)) printf("no api op %d: %s\n", op, strerror(errno));
			char *reg = op == 11 ? mmap(dst, size, 3, MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED, -1, 0) : mem;
			struct uffdio_register g = { { (uintptr_t)reg, size }, op == 11 ? 1 : op == 13 ? 8 : 2 };
			if (ioctl(u, UFFDIO_REGISTER, &g)) { printf("no register op %d: %s\n", op, strerror(errno)); }
		}
		if (op == 14) madvise(mem, size, MADV_FREE);
		for (size_t i = 0; i < size; i += 8) *(uint64_t *)(want + i) = gen + i;
		gen += 0x1000000;
		int x = dev(d, EXCLUSIVE, mem, got, size);
		int w = dev(d, WRITE, mem, want, size);
		if (x || w) { printf("BAD %s op %d: exclusive %s, write %s\n", kinds[kind], op, strerror(x), strerror(w)); bad++; }
		struct uffdio_writeprotect wp = { { (uintptr_t)mem, size }, UFFDIO_WRITEPROTECT_MODE_WP };
		struct move mv = { (uintptr_t)dst, (uintptr_t)mem, size, 0, 0 };
		void *ps[16]; int nodes[16], st[16];
		switch (op) {
		case 0: name = "nothing"; break;
		case 1: name = "move_pages"; for (int n = 0; n < 2; n++) { for (int i = 0; i < 16; i++) { ps[i] = mem + i * 4096; nodes[i] = n; } r = syscall(SYS_move_pages, 0, 16L, ps, nodes, st, 2); if (!r && st[0] < 0) { r = -1; errno = -st[0]; } } break;
		case 2: name = "PAGEOUT"; r = madvise(mem, size, 21); break;
		case 3: name = "COLLAPSE"; r = madvise(mem, size, 25); break;
		case 4: name = "fork"; { pid_t c = fork(); if (!c) { check("fork", "child", mem, size); memset(mem, 3, size); int k = dev(d, READ, mem, got, 4096); if (k != EPERM) { printf("BAD child: %s\n", strerror(k)); bad++; } fflush(stdout); _exit(bad); } r = c; int s; if (c > 0) { waitpid(c, &s, 0); if (s) bad++; } } break;
		case 5: name = "mremap"; r = mremap(mem, size, size, MREMAP_MAYMOVE|MREMAP_FIXED, dst) == MAP_FAILED ? -1 : 0; if (!r) at = dst; break;
		case 6: name = "DONTUNMAP"; r = mremap(mem, size, size, MREMAP_MAYMOVE|4|MREMAP_FIXED, dst) == MAP_FAILED ? -1 : 0; if (!r) at = dst; break;
		case 7: name = "mprotect"; r = mprotect(mem, size, 1); if (!r) { check("mprotect", "cpu-ro", mem, size); int k = dev(d, WRITE, mem, want, 4096); if (k != EPERM) { printf("BAD write to read-only: %s\n", strerror(k)); bad++; } r = mprotect(mem, size, 3); } break;
		case 8: name = "mprotect-none"; r = mprotect(mem, size, 0); if (!r) { int k = dev(d, READ, mem, got, 4096); if (k != EFAULT) { printf("BAD read of PROT_NONE: %s\n", strerror(k)); bad++; } r = mprotect(mem, size, 3); } break;
		case 9: name = "KSM"; for (size_t i = 0; i < size; i++) want[i] = 5; dev(d, WRITE, mem, want, size); r = madvise(mem, size, MADV_MERGEABLE); echo("/sys/kernel/mm/ksm/sleep_millisecs", "0"); echo("/sys/kernel/mm/ksm/pages_to_scan", "4000"); usleep(800000); dev(d, EXCLUSIVE, mem, got, 8192); want[5] = 6; dev(d, WRITE, mem, want, 4096); usleep(300000); break;
		case 10: name = "wp-async"; r = ioctl(u, UFFDIO_WRITEPROTECT, &wp); break;
		case 11: name = "uffd-move"; r = ioctl(u, MOVE, &mv); if (!r) at = dst; break;
		case 12: name = "wp-unwp"; r = ioctl(u, UFFDIO_WRITEPROTECT, &wp); wp.mode = 0; r |= ioctl(u, UFFDIO_WRITEPROTECT, &wp); break;
		case 13: name = "rwp"; r = ioctl(u, RWPROTECT, &wp); break;
		case 14: name = "FREE-before"; r = madvise(mem, size, 21); echo("/proc/sys/vm/drop_caches", "3"); break;
		case 15: name = "process_vm_readv"; { struct iovec a = { got, size }, b = { mem, size }; r = process_vm_readv(getpid(), &a, 1, &b, 1, 0); if (r > 0) check(name, "readv", got, r); } break;
		case 16: name = "proc-mem"; { int m = open("/proc/self/mem", O_RDWR); r = pwrite(m, "ABCDEFGH", 8, (uintptr_t)mem + 4096); if (r == 8) memcpy(want + 4096, "ABCDEFGH", 8); close(m); } break;
		case 17: name = "mlock"; r = mlock(mem, size); munlock(mem, size); break;
		case 18: name = "compact"; echo("/proc/sys/vm/compact_memory", "1"); break;
		case 19: name = "two-devices"; for (int i = 0; i < 8 && !r; i++) { *(uint64_t *)(want + 8) += i; r = dev(d2, EXCLUSIVE, mem, got, size); if (!r) r = dev(d2, WRITE, mem, want, size); if (!r) r = dev(d, EXCLUSIVE, mem, got, size); check(name, "exclusive read", got, size); } r = -r; errno = -r; break;
		case 20: name = "vmsplice"; { int p[2]; pipe(p); struct iovec a = { mem, 4096 }; r = vmsplice(p[1], &a, 1, 0); if (r > 0) { memset(got, 0, 4096); read(p[0], got, r); check(name, "pipe", got, r); } close(p[0]); close(p[1]); } break;
		case 21: name = "close"; close(d); close(d2); usleep(50000); d = open("/dev/hmm_dmirror0", O_RDWR); d2 = open("/dev/hmm_dmirror1", O_RDWR); break;
		}
		e = errno;
		memset(got, 0, size);
		int k = dev(d, READ, at, got, size);
		if (k) printf("device read %s %s: %s\n", kinds[kind], name, strerror(k)); else check(name, "device", got, size);
		check(name, "cpu", at, size);
		printf("%s %s %s: %s\n", r < 0 ? "no" : "ok", kinds[kind], name, r < 0 ? strerror(e) : ""); fflush(stdout);
		if (op == 8) { }
		close(d); close(d2); if (u >= 0) close(u); if (f >= 0) close(f); munmap(place, size); munmap(dst, size);
	}
	printf("end %d bad\n", bad);
	return bad != 0;
}
