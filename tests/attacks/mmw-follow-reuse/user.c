// SPDX-License-Identifier: GPL-2.0
/*
 * A watch with MMWATCH_FOLLOW, a process that exits while a CLONE_VM child keeps its address space,
 * and an unrelated process that gets the number of the dead one, and is the last user of the old
 * address space because it reads /proc/CHILD/mem.
 *
 * The sample compares numbers (tgid) to find out whether the watched process is in an exec.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "mmwatch.h"
#define BIG (160ul << 20)
#define MARK ((char *)0x123400000000)
struct page { volatile int phase, a, b; volatile unsigned long big; volatile int c, done, read; };
static volatile struct page *s;
static void wait_phase(int p) { while (s->phase < p) usleep(1000); }
static void attach_page(void) { int f = open("/tmp/fr.page", O_RDWR); s = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0); close(f); }
static char stack[65536] __attribute__((aligned(64)));
static int child_b(void *x) { for (;;) pause(); return 0; }
static void tracee(void)
{
	char *m = mmap(0, BIG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	s->big = (unsigned long)m;
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
	s->b = clone(child_b, stack + sizeof stack, CLONE_VM, 0);
	_exit(0);
}
static int watcher(void)
{
	int st, got = 0, over = 0;
	pid_t a = fork();
	if (!a) tracee();
	waitpid(a, &st, 0);
	int f = open("/dev/mmwatch", O_RDONLY | O_NONBLOCK);
	struct mmwatch_watch w = { a, MMWATCH_FOLLOW, 0 };
	if (f < 0 || ioctl(f, MMWATCH_WATCH, &w)) { perror("watch"); return 1; }
	ptrace(PTRACE_DETACH, a, 0, 0);
	waitpid(a, &st, 0);
	s->a = a; s->phase = 1;			/* the number is free */
	wait_phase(3);				/* C reads the memory of B */
	usleep(50000);
	int c = s->c;
	kill(s->b, SIGKILL);
	for (int i = 0; i < 200 && !s->done; i++) usleep(20000);
	usleep(100000);
	struct mmwatch_event e[64]; ssize_t n;
	while ((n = read(f, e, sizeof e)) > 0)
		for (int i = 0; i < n / (ssize_t)sizeof *e; i++) {
			if (e[i].kind == MMWATCH_EXEC) printf("event EXEC of tgid %d\n", e[i].tgid);
			if (e[i].kind == MMWATCH_NOT_FOLLOWED) { over = 1; printf("not followed: %llu\n", e[i].start); }
			if (e[i].kind == MMWATCH_RELEASE) printf("released by tgid %d flags %x\n", e[i].tgid, e[i].flags);
			if (e[i].start == (unsigned long)MARK && e[i].tgid == c) got++;
		}
	printf("A %d, B %d, C %d, uid %d, read of C %d MiB, events of C: %d\n", a, s->b, c, getuid(), s->read, got);
	if (got) printf("FOLLOWED: the watch of %d (dead, uid %d) reports %d changes of the address space of an unrelated process that has got its number\n", a, getuid(), got);
	fflush(stdout);
	return over ? 3 : got ? 2 : 0;
}
static int reader(void)
{
	char p[64], *m = mmap(0, BIG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	snprintf(p, sizeof p, "/proc/%d/mem", s->b);
	int f = open(p, O_RDONLY);
	if (f < 0) { perror(p); return 1; }
	s->c = getpid();
	s->phase = 3;
	ssize_t n = pread(f, m, BIG, s->big);
	s->read = n >> 20;
	for (int i = 0; i < 20; i++) {
		mmap(MARK, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		*MARK = 1;
		munmap(MARK, 4096);
	}
	s->done = 1;
	sleep(1);
	return 0;
}
int main(int argc, char **argv)
{
	attach_page();
	if (!strcmp(argv[1], "W")) return watcher();
	if (!strcmp(argv[1], "C")) return reader();
	int good = 0;
	for (int round = 0; round < 6; round++) {
		int st;
		memset((void *)s, 0, 4096);
		pid_t w = fork();
		if (!w) { setgid(1000); if (setuid(1000)) _exit(9); execl("/tmp/fr", "fr", "W", NULL); _exit(9); }
		for (int i = 0; i < 500 && s->phase < 1; i++) usleep(10000);
		if (s->phase < 1) { kill(w, SIGKILL); waitpid(w, &st, 0); puts("watcher failed"); continue; }
		/* An unprivileged process gets the number by creating 32768 processes. */
		pid_t tid = s->a;
		struct clone_args a = { .exit_signal = SIGCHLD, .set_tid = (uint64_t)&tid, .set_tid_size = 1 };
		long c = syscall(SYS_clone3, &a, sizeof a);
		if (!c) { setgid(1000); if (setuid(1000)) _exit(9); execl("/tmp/fr", "fr", "C", NULL); _exit(9); }
		if (c < 0) { perror("clone3"); kill(w, SIGKILL); waitpid(w, &st, 0); continue; }
		s->phase = 2;
		waitpid(w, &st, 0);
		kill(c, SIGKILL);
		waitpid(c, 0, 0);
		if (WIFEXITED(st) && WEXITSTATUS(st) == 2) return 0;
		if (WIFEXITED(st) && (WEXITSTATUS(st) == 3)) good++;
	}
	if (good) printf("VERDICT good: not followed in %d rounds\n", good);
	return 0;
}
