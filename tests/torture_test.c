// SPDX-License-Identifier: GPL-2.0
/*
 * Everything at once: modules are loaded and unloaded while their objects are used, leaked and
 * ended, on tasks that start and exit, in address spaces that change, on CPUs that are plugged and
 * unplugged.
 *
 * Each actor is a process with its own sequence of random numbers, derived from the seed. With the
 * same seed, each actor makes the same decisions in the same order; their timing and interleaving
 * are not reproduced. The actors count their operations in a shared page, which is printed once a
 * second. At the end, all counts of the ledger must be balanced.
 *
 * Usage: torture_test SECONDS SEED
 * Needs the module tether, and TETHER_MODULES as unload_test does.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest.h"
#include "modules.h"
#include "storm.h"
#include "test_torture.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif

#define CGROUPS		"/tmp/torture-cgroups"
#define DEVICE		"/dev/test-torture"
/* The descriptor that kinds.rs takes. */
#define DESCRIPTOR	100
#define ERRORS		512

/* Control groups of processes that works are added to. */
enum { VICTIMS, USERS, STRESSORS, BOMB, HUNGRY, GROUPS };

static const char *const groups[] = { "victims", "users", "stressors", "bomb", "hungry" };

enum {
	LOADER, MISBEHAVED, BREEDER, STRESSOR, BOMBER, STARVER, PLUGGER, FREEZER, USER,
	/* The number of users; they wait most of the time. */
	ACTORS = USER + 12,
};

struct actor {
	const char *name;
	const char *what;
	void (*act)(int self);
};

/* The memory that all actors share. */
static struct {
	bool stop;
	/* The loader is about to unload the module: users close their files of its device. */
	bool going;
	unsigned int random[ACTORS];
	unsigned long operations[ACTORS];
	unsigned long refusals[ACTORS][ERRORS];
	unsigned long killed_by_memory;
	unsigned long loaded, unloaded;
	/* The reason for which an actor does not run; empty if it runs. */
	char not_run[ACTORS][64];
} *shared;

static int kinds, drawn_kinds;

static void count(unsigned long *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static bool stopped(void)
{
	return __atomic_load_n(&shared->stop, __ATOMIC_RELAXED);
}

static bool going(void)
{
	return __atomic_load_n(&shared->going, __ATOMIC_RELAXED);
}

/* Counts an operation, or its error. */
static int note(int self, int ret)
{
	if (ret < 0)
		count(&shared->refusals[self][-ret % ERRORS]);
	else
		count(&shared->operations[self]);
	return ret;
}

/* Returns a random number of an actor. */
static unsigned int decide(int self, unsigned int below)
{
	return next_random(&shared->random[self]) % below;
}

static void sleep_ms(unsigned int ms)
{
	usleep(ms * 1000);
}

static int write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

static int write_group(int group, const char *file, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), CGROUPS "/%s/%s", groups[group], file);
	return write_to(path, text);
}

/* Forks a child into a group. */
static pid_t fork_into(int group)
{
	pid_t child = fork();

	if (child == 0)
		write_group(group, "cgroup.procs", "0");
	return child;
}

/* Returns a process of a group, selected by a random number; 0 if the group is empty. */
static pid_t member(int group, unsigned int random)
{
	char path[128], text[4096];
	int fd, length, lines = 0, i;
	pid_t pid = 0;

	snprintf(path, sizeof(path), CGROUPS "/%s/cgroup.procs", groups[group]);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	for (i = 0; i < length; i++)
		lines += text[i] == '\n';
	if (lines == 0)
		return 0;
	text[length] = '\0';
	lines = random % lines;
	for (i = 0; lines > 0; i++)
		lines -= text[i] == '\n';
	if (sscanf(text + i, "%d", &pid) != 1)
		return 0;
	return pid;
}

/* The loader: loads and unloads the module while others use it. */
static void act_loader(int self)
{
	while (!stopped()) {
		int ret, tries;

		if (note(self, load("test_torture")) == 0)
			count(&shared->loaded);
		sleep_ms(200 + decide(self, 1500));
		__atomic_store_n(&shared->going, true, __ATOMIC_RELAXED);
		for (tries = 0; tries < 100; tries++) {
			ret = note(self, unload("test_torture"));
			if (ret == 0)
				count(&shared->unloaded);
			if (ret != -EAGAIN)
				break;
			sleep_ms(5);
		}
		__atomic_store_n(&shared->going, false, __ATOMIC_RELAXED);
		sleep_ms(decide(self, 50));
	}
}

/* Loads modules that leak their objects, and a module with an init that fails after that. */
static void act_misbehaved(int self)
{
	while (!stopped()) {
		unsigned int kind = decide(self, kinds), random = decide(self, 1 << 20);
		unsigned int life = decide(self, 300), tries;
		bool forget = decide(self, 4), fails = decide(self, 4) == 0;
		pid_t child = fork_into(USERS);

		if (child == 0) {
			char parameters[128];

			dup2(open("/dev/null", O_RDONLY), DESCRIPTOR);
			snprintf(parameters, sizeof(parameters), "kind=%u random=%u forget=%d",
				 kind, random, forget);
			note(self, fails ? load("fail_init") : load_with("leak", parameters));
			sleep_ms(life);
			_exit(0);
		}
		sleep_ms(life / 2);
		if (random % 2)
			kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		for (tries = 0; tries < 100 && note(self, unload("leak")) == -EAGAIN; tries++)
			sleep_ms(5);
	}
}

/* Changes the memory of the calling process; a random number selects the operation. */
static void change_memory(unsigned int random)
{
	char *memory = STORM_MEMORY;
	size_t length = STORM_PAGES * 4096UL, page = random % (STORM_PAGES - 16) * 4096UL;

	switch (random >> 16 & 7) {
	case 0:
		munmap(memory + page, 16 * 4096);
		break;
	case 1:
		mprotect(memory + page, 16 * 4096, PROT_READ);
		break;
	case 2:
		madvise(memory + page, 16 * 4096, MADV_DONTNEED);
		break;
	case 3:
		madvise(memory, length, MADV_PAGEOUT);
		break;
	case 4:
		mremap(memory + page, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, memory + length);
		break;
	case 5:
		if (fork() == 0)
			_exit(0);
		waitpid(-1, NULL, WNOHANG);
		break;
	default:
		mmap(memory, length, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		madvise(memory + page, 16 * 4096, MADV_POPULATE_WRITE);
	}
}

/* Opens the device, and creates, uses and ends objects; "state" is the seed of the decisions. */
static void session(int self, unsigned int state)
{
	static const unsigned char actions[] = {
		TORTURE_MAKE,  TORTURE_MAKE,   TORTURE_MAKE,   TORTURE_MAKE,
		TORTURE_MAKE,  TORTURE_USE,    TORTURE_USE,    TORTURE_USE,
		TORTURE_DROP,  TORTURE_FINISH, TORTURE_FINISH, TORTURE_KEEP,
		TORTURE_WATCH, TORTURE_WATCH,  TORTURE_FORGET, TORTURE_ACTIONS,
	};
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), fd, left = next_random(&state) % 100;

	fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (note(self, fd < 0 ? -errno : 0) < 0) {
		sleep_ms(5);
		return;
	}
	change_memory(~0U);
	while (left-- > 0 && !stopped() && !going()) {
		struct torture torture = { .action =
						   actions[next_random(&state) % sizeof(actions)] };
		unsigned int whom = next_random(&state), memory = next_random(&state);

		/* Use few slots, so that most of them are occupied. */
		torture.slot = next_random(&state) % 4;
		torture.kind = next_random(&state) % drawn_kinds;
		torture.random = next_random(&state);
		/* In one of eight cases, the caller is the target. */
		if (whom % 8)
			torture.target = member(whom / 8 % GROUPS, whom / 64);
		if (torture.action == TORTURE_ACTIONS) {
			change_memory(memory);
			continue;
		}
		/* Provide descriptor 100, which the kind TakenFile takes. */
		dup2(null, DESCRIPTOR);
		note(self, ioctl(fd, TORTURE, &torture) < 0 ? -errno : 0);
	}
}

static void act_user(int self)
{
	while (!stopped()) {
		unsigned int state = decide(self, 1 << 24), life = decide(self, 400);
		bool killed = decide(self, 3) == 0;
		pid_t child = going() ? -1 : fork_into(USERS);

		if (child == 0) {
			session(self, state);
			_exit(0);
		}
		if (child < 0) {
			sleep_ms(10);
			continue;
		}
		if (killed) {
			sleep_ms(life);
			kill(child, SIGKILL);
		}
		waitpid(child, NULL, 0);
	}
}

static void *nap(void *unused)
{
	usleep(20000);
	return unused;
}

/*
 * A process that works are added to: it sleeps, makes system calls, executes a program, creates
 * threads, changes its memory, or exits.
 */
static void be_a_victim(unsigned int kind, unsigned int random)
{
	pthread_t thread;

	switch (kind) {
	case 0:
		pause();
		break;
	case 1:
		for (;;)
			usleep(100);
	case 2:
		sleep_ms(random % 50);
		execl("/bin/sleep", "sleep", "1", NULL);
		break;
	case 3:
		for (;;)
			if (pthread_create(&thread, NULL, nap, NULL) == 0)
				pthread_join(thread, NULL);
	case 4:
		for (;;) {
			change_memory(next_random(&random));
			/* Leave CPU time to the others. */
			usleep(5000);
		}
	default:
		sleep_ms(random % 100);
	}
	_exit(0);
}

static void act_breeder(int self)
{
	pid_t victims[12] = {};
	const int count = ARRAY_SIZE(victims);

	while (!stopped()) {
		pid_t *victim = &victims[decide(self, count)];
		unsigned int kind = decide(self, 6), random = decide(self, 1 << 24);

		if (*victim) {
			if (kind % 2 == 0)
				kill(*victim, SIGKILL);
			if (waitpid(*victim, NULL, kind % 2 ? WNOHANG : 0))
				*victim = 0;
		} else {
			*victim = fork_into(VICTIMS);
			if (*victim == 0)
				be_a_victim(kind, random);
			note(self, *victim < 0 ? -errno : 0);
		}
		sleep_ms(decide(self, 30));
	}
}

/*
 * stress-ng, for its many operations on memory. Works are added to its processes, which then have
 * notifiers.
 */
static void act_stressor(int self)
{
	static const char *const stressors[] = {
		"malloc",  "mmap",   "mmapmany",  "mmapfork",	 "mremap",
		"munmap",  "brk",    "mprotect",  "remap",	 "pagemove",
		"madvise", "zombie", "vm-splice", "vforkmany",	 "memfd",
		"clone",   "stack",  "shm",	  "userfaultfd", "resources",
	};

	while (!stopped()) {
		char option[32], seed[16];
		int status;
		pid_t child;

		snprintf(option, sizeof(option), "--%s",
			 stressors[decide(self, ARRAY_SIZE(stressors))]);
		snprintf(seed, sizeof(seed), "%u", decide(self, 1 << 24));
		child = fork_into(STRESSORS);
		if (child == 0) {
			execlp("stress-ng", "stress-ng", option, "1", "--timeout", "2", "--seed",
			       seed, "--temp-path", "/tmp", "--oomable", "--quiet", NULL);
			_exit(127);
		}
		/* stress-ng forks grandchildren: kill the whole group. */
		sleep_ms(500 + decide(self, 3000));
		write_group(STRESSORS, "cgroup.kill", "1");
		waitpid(child, &status, 0);
		note(self, 0);
	}
}

static void act_bomber(int self)
{
	while (!stopped()) {
		unsigned int burns = 50 + decide(self, 300);
		pid_t child = fork_into(BOMB);

		if (child == 0) {
			/* The limit applies to all processes of this user. */
			struct rlimit limit = { 32, 32 };

			setrlimit(RLIMIT_NPROC, &limit);
			if (setgid(65534) || setuid(65534))
				_exit(1);
			for (;;) {
				pid_t pid = fork();

				if (pid != 0)
					note(self, pid < 0 ? -errno : 0);
				if (pid < 0)
					usleep(100000);
				/* Half of the processes exit, to make room for new ones. */
				if (pid == 0 && getpid() % 2)
					_exit(0);
				waitpid(-1, NULL, WNOHANG);
			}
		}
		sleep_ms(burns);
		write_group(BOMB, "cgroup.kill", "1");
		waitpid(child, NULL, 0);
		sleep_ms(decide(self, 2000));
	}
}

/* Exceeds the memory limit of its group while notifiers are registered: the OOM killer kills it. */
static void act_starver(int self)
{
	while (!stopped()) {
		unsigned int first = decide(self, 1 << 24), pause = decide(self, 2000);
		pid_t child = fork_into(HUNGRY);
		int status = 0;

		if (child == 0) {
			int fd = open(DEVICE, O_RDWR | O_CLOEXEC), i;

			for (i = 0; fd >= 0 && i < TORTURE_SLOTS && !going(); i++) {
				struct torture torture = {
					.action = TORTURE_MAKE,
					.slot = i,
					.kind = (first + i) % drawn_kinds,
					.random = first,
				};

				ioctl(fd, TORTURE, &torture);
			}
			for (i = 0; i < 1000; i++) {
				char *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
						    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1,
						    0);

				if (memory != MAP_FAILED)
					memory[0] = 1;
			}
			_exit(0);
		}
		waitpid(child, &status, 0);
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
			count(&shared->killed_by_memory);
		note(self, 0);
		sleep_ms(pause);
	}
}

#define CPU1	"/sys/devices/system/cpu/cpu1/online"

static void act_plugger(int self)
{
	while (!stopped()) {
		note(self, write_to(CPU1, "0"));
		sleep_ms(decide(self, 500));
		note(self, write_to(CPU1, "1"));
		sleep_ms(decide(self, 1000));
	}
}

static void act_freezer(int self)
{
	while (!stopped()) {
		int group = decide(self, GROUPS);

		note(self, write_group(group, "cgroup.freeze", "1"));
		sleep_ms(decide(self, 200));
		note(self, write_group(group, "cgroup.freeze", "0"));
		sleep_ms(decide(self, 500));
	}
}

static const struct actor actors[] = {
	[LOADER] = { "loader", "loads and unloads the module that all others use", act_loader },
	[MISBEHAVED] = { "misbehaved", "modules that forget, and one that fails", act_misbehaved },
	[BREEDER] = { "breeder", "processes that live and die", act_breeder },
	[STRESSOR] = { "stressor", "stress-ng", act_stressor },
	[BOMBER] = { "bomber", "fork bombs", act_bomber },
	[STARVER] = { "starver", "processes that take more memory than they may", act_starver },
	[PLUGGER] = { "plugger", "takes a CPU away, and gives it back", act_plugger },
	[FREEZER] = { "freezer", "freezes groups of processes", act_freezer },
	[USER] = { "user", "makes, uses, ends and forgets one of everything", act_user },
};

static const struct actor *actor_of(int number)
{
	return &actors[number < USER ? number : USER];
}

/* Finds the actors that this kernel or machine does not support. */
static void find_what_cannot_run(void)
{
	static const struct {
		int actor;
		const char *file;
		const char *why;
	} needs[] = {
		{ PLUGGER, CPU1, "this kernel has no HOTPLUG_CPU, or one CPU" },
		{ STARVER, CGROUPS "/hungry/memory.max", "this kernel has no MEMCG" },
		{ FREEZER, CGROUPS "/victims/cgroup.freeze", "this kernel has no CGROUPS" },
		{ STRESSOR, "/usr/bin/stress-ng", "there is no stress-ng" },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(needs); i++)
		if (access(needs[i].file, F_OK))
			strcpy(shared->not_run[needs[i].actor], needs[i].why);
}

static void make_groups(void)
{
	char path[128];
	int group;

	mkdir(CGROUPS, 0755);
	mount("none", CGROUPS, "cgroup2", 0, NULL);
	write_to(CGROUPS "/cgroup.subtree_control", "+memory");
	for (group = 0; group < GROUPS; group++) {
		snprintf(path, sizeof(path), CGROUPS "/%s", groups[group]);
		mkdir(path, 0755);
	}
	write_group(HUNGRY, "memory.max", "24M");
	write_group(HUNGRY, "memory.swap.max", "0");
	write_group(STRESSORS, "memory.max", "300M");
	/*
	 * khugepaged and ksmd run with the lowest priority, also inside of RCU read-side critical
	 * sections, for which all other tasks have to wait.
	 */
	system("renice -n 0 -p $(pgrep -x 'khugepaged|ksmd') >/dev/null");
	/* Limit the output: do not list all tasks for each kill. */
	write_to("/proc/sys/vm/oom_dump_tasks", "0");
}

/* Kills all processes that the actors have left running. */
static void end_groups(void)
{
	int group;

	for (group = 0; group < GROUPS; group++) {
		write_group(group, "cgroup.freeze", "0");
		write_group(group, "cgroup.kill", "1");
	}
}

/* Prints the counters in a line. */
static void report(long second)
{
	unsigned long operations = 0, refusals[ERRORS] = {};
	int actor, error;

	for (actor = 0; actor < ACTORS; actor++) {
		operations += shared->operations[actor];
		for (error = 0; error < ERRORS; error++)
			refusals[error] += shared->refusals[actor][error];
	}
	printf("# %ld s: %lu operations, %lu loads, %lu unloads, %lu out of memory, refused",
	       second, operations, shared->loaded, shared->unloaded, shared->killed_by_memory);
	for (error = 0; error < ERRORS; error++)
		if (refusals[error] && strerrorname_np(error))
			printf(" %s %lu", strerrorname_np(error), refusals[error]);
		else if (refusals[error])
			printf(" %d %lu", error, refusals[error]);
	printf("; outstanding %d\n", outstanding(NULL));
	fflush(stdout);
}

static int tests;
static bool failed;

__attribute__((format(printf, 2, 3)))
static void result(bool good, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	printf("%sok %d ", good ? "" : "not ", ++tests);
	vprintf(format, arguments);
	printf("\n");
	fflush(stdout);
	va_end(arguments);
	failed |= !good;
}

/* Unloads a module as soon as it is not pinned. */
static int unload_at_last(const char *name)
{
	int tries, ret = 0;

	for (tries = 0; tries < 300; tries++) {
		ret = unload(name);
		if (ret != -EAGAIN && ret != -EBUSY)
			break;
		sleep_ms(100);
	}
	return ret == -ENOENT ? 0 : ret;
}

int main(int argc, char **argv)
{
	struct count counts[MOST_KINDS];
	pid_t pids[ACTORS] = {};
	unsigned int seed;
	long seconds, second;
	int actor, kind, ret;

	if (argc != 3)
		return 2;
	seconds = atol(argv[1]);
	seed = strtoul(argv[2], NULL, 0);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	make_groups();
	ret = load("ledger");
	kinds = read_ledger(counts);
	/*
	 * Only "leak" creates this kind and the ones after it: they can exist only once, or need
	 * parameters that are not available here.
	 */
	for (drawn_kinds = 0; drawn_kinds < kinds; drawn_kinds++)
		if (!strcmp(counts[drawn_kinds].kind, "PollDevice"))
			break;
	find_what_cannot_run();

	printf("KTAP version 1\n");
	printf("1..%d\n", 3 + USER + 1 + kinds);
	printf("# torture: %ld s, SEED=%u\n", seconds, seed);
	result(kinds > 0, "the ledger is there: %s", strerror(-ret));
	for (actor = 0; actor < ACTORS; actor++) {
		shared->random[actor] = seed + actor * 2654435761U;
		if (shared->not_run[actor][0]) {
			printf("# not run: %s: %s\n", actor_of(actor)->name,
			       shared->not_run[actor]);
			continue;
		}
		fflush(stdout);
		pids[actor] = fork();
		if (pids[actor] == 0) {
			int null = open("/dev/null", O_RDWR);

			/* A hung actor must not keep the pipe of the output open. */
			dup2(null, 1);
			dup2(null, 2);
			actor_of(actor)->act(actor);
			_exit(0);
		}
	}

	for (second = 1; second <= seconds; second++) {
		sleep(1);
		report(second);
	}

	__atomic_store_n(&shared->stop, true, __ATOMIC_RELAXED);
	write_to(CPU1, "1");
	for (actor = 0; actor < ACTORS; actor++) {
		int tries;

		/*
		 * Some actors wait for their processes in a group. The limit of 3000 tries detects
		 * hangs; a slow machine must not reach it.
		 */
		for (tries = 0; pids[actor] && tries < 3000; tries++) {
			if (waitpid(pids[actor], NULL, WNOHANG))
				pids[actor] = 0;
			end_groups();
			sleep_ms(10);
		}
		if (pids[actor]) {
			result(false, "%s comes to its end", actor_of(actor)->name);
			fflush(stdout);
			system("ps -eo pid,ppid,stat,psr,wchan:30,comm | sed 's/^/# /'");
		}
	}
	write_to(CPU1, "1");

	for (actor = 0; actor <= USER; actor++) {
		unsigned long operations = shared->operations[actor];
		int other;

		for (other = USER + 1; actor == USER && other < ACTORS; other++)
			operations += shared->operations[other];
		if (shared->not_run[actor][0])
			result(true, "%s: %s # SKIP %s", actors[actor].name, actors[actor].what,
			       shared->not_run[actor]);
		else
			result(operations, "%s: %s: %lu operations", actors[actor].name,
			       actors[actor].what, operations);
	}
	ret = unload_at_last("leak") ?: unload_at_last("test_torture");
	result(ret == 0, "the modules go: %s", strerror(-ret));
	ret = outstanding(NULL);
	result(ret == 0, "nothing is outstanding: %d", ret);
	kinds = read_ledger(counts);
	for (kind = 0; kind < kinds; kind++) {
		struct count *count = &counts[kind];

		result(count->made == count->dropped + count->forgotten,
		       "%s: %ld made = %ld dropped + %ld forgotten", count->kind, count->made,
		       count->dropped, count->forgotten);
	}
	unload("ledger");
	umount(CGROUPS);
	return failed;
}
