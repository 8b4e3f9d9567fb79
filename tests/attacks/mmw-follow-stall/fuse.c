// SPDX-License-Identifier: GPL-2.0
/*
 * Serves a FUSE file system with one file, "f": a copy of a program.
 *
 * Some pages are named on the command line. A read of the Nth of them is answered when the file
 * /tmp/release.N exists.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
static int fd;
static char program[1 << 20];
static size_t length;
static void reply(uint64_t unique, int error, const void *data, size_t n)
{
	struct fuse_out_header h = { sizeof h + n, error, unique };
	struct iovec v[2] = { { &h, sizeof h }, { (void *)data, n } };
	if (writev(fd, v, n ? 2 : 1) < 0) perror("reply");
}
static struct fuse_attr attr(uint64_t ino)
{
	struct fuse_attr a = { .ino = ino, .size = ino == 1 ? 0 : length, .blocks = 8, .nlink = 1, .blksize = 4096, .mode = ino == 1 ? S_IFDIR | 0777 : S_IFREG | 0755 };
	return a;
}
static size_t offset_of(unsigned long address)
{
	Elf64_Ehdr *e = (void *)program; Elf64_Phdr *p = (void *)(program + e->e_phoff);
	for (int i = 0; i < e->e_phnum; i++)
		if (p[i].p_type == PT_LOAD && address >= p[i].p_vaddr && address < p[i].p_vaddr + p[i].p_filesz) return address - p[i].p_vaddr + p[i].p_offset;
	return -1;
}
int main(int argc, char **argv)
{
	static char buf[1 << 20]; char o[200];
	int in = open(argv[2], O_RDONLY); length = read(in, program, sizeof program); close(in);
	size_t page[8]; uint64_t waits[8] = { 0 }; int pages = argc - 3;
	for (int i = 0; i < pages; i++) page[i] = offset_of(strtoul(argv[3 + i], 0, 16)) & ~4095ul;
	fd = open("/dev/fuse", O_RDWR);
	snprintf(o, sizeof o, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,max_read=4096", fd);
	if (fd < 0 || mount("stall", argv[1], "fuse", 0, o)) { perror("mount"); return 1; }
	printf("mounted, %d pages of %zx bytes wait\n", pages, length); fflush(stdout);
	for (;;) {
		struct pollfd q = { fd, POLLIN };
		for (int i = 0; i < pages; i++) {
			snprintf(o, sizeof o, "/tmp/release.%d", i);
			if (!waits[i] || access(o, F_OK)) continue;
			printf("served %d\n", i); fflush(stdout);
			reply(waits[i], 0, program + page[i], length - page[i] < 4096 ? length - page[i] : 4096);
			waits[i] = 0;
		}
		if (poll(&q, 1, 100) <= 0) continue;
		ssize_t n = read(fd, buf, sizeof buf);
		if (n < 0) { if (errno == EINTR || errno == ENOENT || errno == EAGAIN) continue; perror("read"); return 1; }
		struct fuse_in_header *h = (void *)buf;
		switch (h->opcode) {
		case FUSE_INIT: { struct fuse_init_in *in = (void *)(h + 1); struct fuse_init_out r = { .major = 7, .minor = in->minor < 31 ? in->minor : 31, .max_readahead = 0, .max_write = 65536, .max_background = 4 }; reply(h->unique, 0, &r, sizeof r); break; }
		case FUSE_LOOKUP: { struct fuse_entry_out r = { .nodeid = 2, .attr_valid = 9999, .entry_valid = 9999, .attr = attr(2) }; reply(h->unique, 0, &r, sizeof r); break; }
		case FUSE_GETATTR: { struct fuse_attr_out r = { .attr_valid = 9999, .attr = attr(h->nodeid) }; reply(h->unique, 0, &r, sizeof r); break; }
		case FUSE_OPEN: { struct fuse_open_out r = { .fh = 1, .open_flags = FOPEN_KEEP_CACHE }; reply(h->unique, 0, &r, sizeof r); break; }
		case FUSE_READ: {
			struct fuse_read_in *in = (void *)(h + 1); size_t at = in->offset, end = at + in->size;
			printf("read %zx-%zx\n", at, end); fflush(stdout);
			int i; for (i = 0; i < pages; i++) { snprintf(o, sizeof o, "/tmp/release.%d", i); if (at <= page[i] && page[i] < end && access(o, F_OK)) break; }
			if (i < pages) { printf("asked for %d\n", i); fflush(stdout); waits[i] = h->unique; break; }
			if (end > length) end = length;
			reply(h->unique, 0, program + (at < length ? at : 0), at < length ? end - at : 0);
			break;
		}
		case FUSE_FORGET: case FUSE_BATCH_FORGET: case FUSE_INTERRUPT: break;
		case FUSE_FLUSH: case FUSE_RELEASE: reply(h->unique, 0, 0, 0); break;
		default: reply(h->unique, -ENOSYS, 0, 0);
		}
	}
}
