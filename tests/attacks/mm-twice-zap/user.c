#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
static int d;
static int twice(void *x){ ioctl(d, 0xBB02, 0); return 0; }
int main(){ int go[2], go2[2], done[2]; char c; pipe(go); pipe(go2); pipe(done);
 if (!fork()) { read(go[0], &c, 1); size_t n = 400ul << 20; char *q = mmap(0, n, 3, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0); madvise(q, n, MADV_NOHUGEPAGE); memset(q, 0x77, n); write(done[1], "x", 1); read(go2[0], &c, 1);
  int bad = 0; for (size_t i = 0; i < n; i += 4096) if (q[i] != 0x77) bad++; printf("another process: %d of its pages were written to\n", bad); fflush(stdout); _exit(0); }
 char *p = mmap((void*)0x10000000, 4096, 3, MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED, -1, 0); memset(p, 0x11, 4096);
 d = open("/dev/twicezap", O_RDWR); if (d < 0 || ioctl(d, 0xBB01, 0)) { perror("x"); return 1; } ioctl(d, 0xBB03, 0);
 static char s[65536];
 int t = clone(twice, s + 65536, CLONE_VM|CLONE_FILES|SIGCHLD, 0); int st; waitpid(t, &st, 0); printf("thread: %x\n", st); fflush(stdout);
 write(go[1], "x", 1); read(done[0], &c, 1); ioctl(d, 0xBB03, 0); write(go2[1], "x", 1); wait(0); return 0; }
