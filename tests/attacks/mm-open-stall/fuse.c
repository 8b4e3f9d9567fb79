// SPDX-License-Identifier: GPL-2.0
/* Serves a FUSE file system with one file, "f". A read of this file is never answered. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
static int fd;
static void reply(uint64_t unique, int error, const void *data, size_t n)
{
	struct fuse_out_header h = { sizeof h + n, error, unique };
	struct iovec v[2] = { { &h, sizeof h }, { (void *)data, n } };
	if (writev(fd, v, n ? 2 : 1) < 0) perror("reply");
}
static struct fuse_attr attr(uint64_t ino)
{
	struct fuse_attr a = { .ino = ino, .size = ino == 1 ? 0 : 65536, .blocks = 8, .nlink = 1, .blksize = 4096, .mode = ino == 1 ? S_IFDIR | 0777 : S_IFREG | 0666 };
	return a;
}
int main(int argc, char **argv)
{
	static char buf[1 << 20]; char o[200];
	fd = open("/dev/fuse", O_RDWR);
	snprintf(o, sizeof o, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd);
	if (fd < 0 || mount("stall", argv[1], "fuse", 0, o)) { perror("mount"); return 1; }
	puts("mounted"); fflush(stdout);
	for (;;) {
		ssize_t n = read(fd, buf, sizeof buf);
		if (n < 0) { if (errno == EINTR || errno == ENOENT) continue; perror("read"); return 1; }
		struct fuse_in_header *h = (void *)buf;
		switch (h->opcode) {
		case FUSE_INIT: { struct fuse_init_in *in = (void *)(h + 1); struct fuse_init_out r = { .major = 7, .minor = in->minor < 31 ? in->minor : 31, .max_readahead = 4096, .max_write = 65536, .max_background = 4 }; reply(h->unique, 0, &r, sizeof r); break; }
		case FUSE_LOOKUP: { struct fuse_entry_out r = { .nodeid = 2, .attr_valid = 9999, .entry_valid = 9999, .attr = attr(2) }; reply(h->unique, 0, &r, sizeof r); break; }
		case FUSE_GETATTR: { struct fuse_attr_out r = { .attr_valid = 9999, .attr = attr(h->nodeid) }; reply(h->unique, 0, &r, sizeof r); break; }
		case FUSE_OPEN: { struct fuse_open_out r = { .fh = 1 }; reply(h->unique, 0, &r, sizeof r); break; }
		case FUSE_READ: puts("a read stalls"); fflush(stdout); break;
		case FUSE_FORGET: case FUSE_BATCH_FORGET: case FUSE_INTERRUPT: break;
		case FUSE_FLUSH: case FUSE_RELEASE: reply(h->unique, 0, 0, 0); break;
		default: reply(h->unique, -ENOSYS, 0, 0);
		}
	}
}
