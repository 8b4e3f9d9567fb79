// SPDX-License-Identifier: GPL-2.0
/*
 * A file system that serves all reads but one, and a process that makes pages of its file exclusive.
 *
 * One thread asks rust_hmm_mirror.ko for exclusive access to a page, and another one unmaps the page
 * and drops it from the page cache. make_exclusive() looks the page up first, in a wait that can be
 * killed, and calls make_device_exclusive(), which faults the page in again if it was lost in
 * between. The file system withholds the page for this second fault, which it recognises by the
 * stack of the thread.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <linux/fuse.h>
#include <linux/userfaultfd.h>
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec * 1e-9; }
struct cmd { uint64_t addr, ptr, npages, cpages, faults; };
#define EXCLUSIVE _IOWR('H', 5, struct cmd)
static char stack[100]; static char *page; static int file, done; static char buffer[4096];
static int inside(void) { char t[4096]; int f = open(stack, O_RDONLY); ssize_t n = read(f, t, sizeof t - 1); close(f); t[n > 0 ? n : 0] = 0; return !!strstr(t, "make_device_exclusive"); }
static void serve(int f)
{
	static char in[1 << 20], out[65536];
	for (;;) {
		ssize_t n = read(f, in, sizeof in); struct fuse_in_header *h = (void *)in; struct fuse_out_header *o = (void *)out; void *a = out + sizeof *o; size_t len = 0;
		if (n < 0) { if (errno == EINTR || errno == ENOENT) continue; _exit(0); }
		memset(out, 0, sizeof out); o->unique = h->unique;
		struct fuse_attr attr = { .ino = h->nodeid, .size = 65536, .blocks = 128, .mode = h->nodeid == 1 ? S_IFDIR | 0755 : S_IFREG | 0666, .nlink = 1, .blksize = 4096 };
		switch (h->opcode) {
		case FUSE_INIT: { struct fuse_init_in *i = (void *)(in + sizeof *h); struct fuse_init_out *r = a; r->major = FUSE_KERNEL_VERSION; r->minor = i->minor < FUSE_KERNEL_MINOR_VERSION ? i->minor : FUSE_KERNEL_MINOR_VERSION; r->max_readahead = 65536; r->flags = FUSE_ASYNC_READ; r->max_write = 65536; len = sizeof *r; break; }
		case FUSE_LOOKUP: { struct fuse_entry_out *r = a; r->nodeid = 2; attr.ino = 2; attr.mode = S_IFREG | 0666; r->attr = attr; r->attr_valid = r->entry_valid = 1000; len = sizeof *r; break; }
		case FUSE_GETATTR: { struct fuse_attr_out *r = a; r->attr = attr; r->attr_valid = 1000; len = sizeof *r; break; }
		case FUSE_OPEN: { struct fuse_open_out *r = a; r->open_flags = FOPEN_KEEP_CACHE; len = sizeof *r; break; }
		case FUSE_READ: { struct fuse_read_in *i = (void *)(in + sizeof *h); static int reads; usleep(3000); reads++;
			if (inside()) { printf("stalled after %d reads\n", reads); fflush(stdout); continue; }
			if (reads % 100 == 0) { printf("%d reads\n", reads); fflush(stdout); }
			len = i->size < 32768 ? i->size : 32768; break; }
		case FUSE_FORGET: case FUSE_BATCH_FORGET: case FUSE_INTERRUPT: continue;
		case FUSE_FLUSH: case FUSE_RELEASE: break;
		default: o->error = -ENOSYS;
		}
		o->len = sizeof *o + len;
		write(f, out, o->len);
	}
}
static void *drop(void *v) { (void)v; for (;;) { madvise(page, 4096, MADV_DONTNEED); posix_fadvise(file, 0, 65536, POSIX_FADV_DONTNEED); } }
int main(void)
{
	char opt[100]; int f = open("/dev/fuse", O_RDWR); pthread_t t;
	mkdir("/tmp/fuse", 0755);
	snprintf(opt, sizeof opt, "fd=%d,rootmode=40000,user_id=0,group_id=0", f);
	snprintf(stack, sizeof stack, "/proc/%d/stack", getpid());
	if (f < 0 || mount("hostile", "/tmp/fuse", "fuse", 0, opt)) { perror("mount"); return 1; }
	pid_t server = fork();
	if (!server) serve(f);
	close(f);
	printf("server %d\n", server); fflush(stdout);
	file = open("/tmp/fuse/file", O_RDWR);
	if (file < 0) { perror("open"); return 1; }
	page = mmap(0, 65536, 3, MAP_PRIVATE, file, 0);
	if (page == MAP_FAILED) { perror("mmap"); return 1; }
	int d = open("/dev/hmm_dmirror0", O_RDWR);
	pthread_create(&t, 0, drop, 0);
	for (;;) { struct cmd c = { (uintptr_t)page, (uintptr_t)buffer, 1, 0, 0 }; ioctl(d, EXCLUSIVE, &c); if (++done % 200 == 0) { printf("%d calls\n", done); fflush(stdout); } }
}
