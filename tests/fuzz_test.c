// SPDX-License-Identifier: GPL-2.0
/*
 * Random operations on the devices of all samples, by several processes of several users: known and
 * unknown ioctls with good and bad arguments, read(), poll(), mmap(), fork(), ptrace(), close() and
 * SIGKILL. The kernel's log must stay clean, and each process must end. Needs the module tether and
 * all samples.
 *
 *   TETHER_SECONDS   the duration (8)
 *   TETHER_SEED      the seed of the random numbers
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "storm.h"
#include "lib/test_hmm_uapi.h"
#include "../samples/mmwatch.h"

#define PROCESSES	6
#define FILES		4
/* The number of pages that each process works on. */
#define ARENA		64

static const char *const devices[] = {
	"/dev/mmwatch",		  "/dev/hmm_dmirror0",
	"/dev/rust-mmu-notifier", "/dev/rust-interval-notifier",
	"/dev/rust-registration-cache", "/dev/rust-task-work",
	"/dev/rust-fd-close",
};

#define DEVICES		(sizeof(devices) / sizeof(*devices))
#define MMWATCH		0
#define MIRROR		1

/* The ioctl of rust-fd-close. */
#define FD_CLOSE	_IO(0xBB, 1)

/* The commands of each device, as a range of commands[]. */
static const struct { unsigned int first, count; } known[DEVICES] = {
	[MMWATCH] = { 0, 5 }, [MIRROR] = { 5, 6 }, { 0 }, { 0 }, { 0 }, { 0 }, { 11, 1 },
};

static const unsigned long commands[] = {
	MMWATCH_WATCH, MMWATCH_STATUS, MMWATCH_UNWATCH, MMWATCH_ADD_RANGE, MMWATCH_REMOVE_RANGE,
	HMM_DMIRROR_READ, HMM_DMIRROR_WRITE, HMM_DMIRROR_SNAPSHOT, HMM_DMIRROR_EXCLUSIVE,
	HMM_DMIRROR_CHECK_EXCLUSIVE, HMM_DMIRROR_READ_UNLOCKED,
	FD_CLOSE,
};

#define COMMANDS	(sizeof(commands) / sizeof(*commands))

/* The memory that all processes share. */
struct shared {
	int stop;
	pid_t pids[PROCESSES];
	/* Successes and errors by device; the last element is for operations on memory. */
	uint64_t done[DEVICES + 1];
	uint64_t refused[DEVICES + 1];
	uint64_t errnos[256];
};

static struct shared *shared;
static unsigned int state;
static char *arena;
static struct { int fd; unsigned int device; } files[FILES];

static unsigned int below(unsigned int limit)
{
	return next_random(&state) % limit;
}

static void note(unsigned int device, long result)
{
	if (result >= 0) {
		__atomic_fetch_add(&shared->done[device], 1, __ATOMIC_RELAXED);
		return;
	}
	__atomic_fetch_add(&shared->refused[device], 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&shared->errnos[errno & 255], 1, __ATOMIC_RELAXED);
}

/* Returns an address, which is valid in most cases. */
static uint64_t address(void)
{
	/* Includes the ends of user space on x86_64 (47 or 56 bits) and arm64 (48 or 52 bits). */
	static const uint64_t bad[] = {
		0, 8, -1UL, -4096UL, 1UL << 47, 1UL << 48, 1UL << 52, 1UL << 56,
		0xffff888000000000, 0x7ffffffff000,
	};

	switch (below(8)) {
	case 0:
		return bad[below(sizeof(bad) / sizeof(*bad))];
	case 1:
		return (uintptr_t)arena + below(ARENA * 4096);
	default:
		return (uintptr_t)arena + below(ARENA) * 4096;
	}
}

static uint64_t number(void)
{
	switch (below(8)) {
	case 0:
		return -1UL;
	case 1:
		return (uint64_t)next_random(&state) << below(48);
	default:
		return below(16);
	}
}

/* Fills the argument of an ioctl: in the form of its command, or at random. */
static void fill(uint64_t *argument, unsigned int device)
{
	unsigned int i;

	for (i = 0; i < 8; i++)
		argument[i] = below(2) ? address() : number();
	if (device == MMWATCH && below(4)) {
		struct mmwatch_watch *watch = (void *)argument;
		pid_t pid = below(3) ? 0 : shared->pids[below(PROCESSES)];

		if (below(2)) {
			*watch = (struct mmwatch_watch){ pid, below(9), below(4) ? 0 : address() };
		} else {
			argument[1] = below(ARENA) * 4096;
			argument[4] = 0;
		}
	}
	if (device == MIRROR && below(4)) {
		argument[0] = (uintptr_t)arena + below(ARENA) * 4096;
		argument[1] = (uintptr_t)arena;
		argument[2] = 1 + below(ARENA);
	}
}

static void use(unsigned int i)
{
	static char buffer[1 << 14];
	unsigned int device = files[i].device;
	uint64_t argument[8];
	unsigned long command;
	struct pollfd poll_;
	void *area;

	switch (below(12)) {
	case 0:
		fcntl(files[i].fd, F_SETFL, below(8) ? O_NONBLOCK : 0);
		note(device, read(files[i].fd, below(8) ? buffer : (void *)address(),
				  below(sizeof(buffer))));
		break;
	case 1:
		poll_ = (struct pollfd){ files[i].fd, POLLIN };
		note(device, poll(&poll_, 1, below(3)));
		break;
	case 2:
		area = mmap(NULL, (1 + below(4)) * 4096, 1 + below(7),
			    below(2) ? MAP_SHARED : MAP_PRIVATE, files[i].fd, below(4) ? 0 : 4096);
		note(device, area == MAP_FAILED ? -1 : 0);
		if (area == MAP_FAILED)
			break;
		*(volatile char *)area;
		mprotect(area, 4096, PROT_READ | PROT_WRITE);
		madvise(area, 4096, below(30));
		munmap(area, below(8) ? 4 * 4096 : 0);
		break;
	default:
		fill(argument, device);
		if (known[device].count && below(16))
			command = commands[known[device].first + below(known[device].count)];
		else
			command = below(2) ? commands[below(COMMANDS)] : next_random(&state);
		note(device,
		     ioctl(files[i].fd, command, below(8) ? (unsigned long)argument : address()));
	}
}

static void change_memory(void)
{
	char *at = arena + below(ARENA) * 4096;
	size_t length = (1 + below(8)) * 4096;
	long result = 0;

	if (at + length > arena + ARENA * 4096)
		length = 4096;
	switch (below(6)) {
	case 0:
		result = mmap(at, length, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED ?
				 -1 :
				 0;
		break;
	case 1:
		result = madvise(at, length, MADV_DONTNEED);
		break;
	case 2:
		result = mprotect(at, length, PROT_READ);
		mprotect(at, length, PROT_READ | PROT_WRITE);
		break;
	case 3:
		result = madvise(at, length, MADV_PAGEOUT);
		break;
	default:
		memset(at, 1, length);
	}
	note(DEVICES, result);
}

/* Attaches to another process and reads it, as a debugger does. */
static void trace(void)
{
	pid_t pid = shared->pids[below(PROCESSES)];
	struct mmwatch_watch watch = { pid, below(2) ? MMWATCH_FOLLOW : below(4) };
	unsigned int i = below(FILES);
	int status;

	if (pid == getpid() || ptrace(PTRACE_SEIZE, pid, 0, 0))
		return;
	if (!ptrace(PTRACE_INTERRUPT, pid, 0, 0) &&
	    waitpid(pid, &status, __WALL | WNOHANG) == pid && files[i].device == MMWATCH)
		note(MMWATCH, ioctl(files[i].fd, MMWATCH_WATCH, &watch));
	ptrace(PTRACE_DETACH, pid, 0, 0);
}

static void open_one(unsigned int i)
{
	unsigned int device = below(2) ? MMWATCH : below(DEVICES);

	files[i].device = device;
	files[i].fd = open(devices[device], O_RDWR | (below(2) ? O_CLOEXEC : 0));
	note(device, files[i].fd);
	/* In most cases, prepare the device so that later commands succeed. */
	if (device == MMWATCH && below(4)) {
		struct mmwatch_watch watch = { .flags = below(4) };

		note(device, ioctl(files[i].fd, MMWATCH_WATCH, &watch));
		if (watch.flags & MMWATCH_RANGES && below(2))
			mmap(NULL, 4096, PROT_READ, MAP_SHARED, files[i].fd, 0);
	}
}

static void one(unsigned int which, unsigned int seed)
{
	struct rlimit limit = { 0, 0 };
	unsigned int i;

	state = seed;
	setrlimit(RLIMIT_CORE, &limit);
	/* The alarm ends every wait, for example a read() without data. */
	signal(SIGALRM, SIG_DFL);
	alarm(5);
	arena = mmap(NULL, ARENA * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		     0);
	for (i = 0; i < FILES; i++)
		open_one(i);
	/* Half of the processes run as root, each of the others as a different user. */
	if (which % 2 && (setgid(1000 + which) || setuid(1000 + which)))
		_exit(1);
	while (!__atomic_load_n(&shared->stop, __ATOMIC_RELAXED)) {
		i = below(FILES);
		switch (below(40)) {
		case 0:
			close(files[i].fd);
			open_one(i);
			break;
		case 1:
			if (fork() == 0) {
				/* The child shares the files, but has another address space. */
				alarm(5);
				for (i = 0; i < 20; i++)
					use(below(FILES));
				if (below(2))
					execl("/bin/true", "true", NULL);
				_exit(0);
			}
			while (waitpid(-1, NULL, below(2) ? WNOHANG : 0) > 0)
				;
			break;
		case 2:
			trace();
			break;
		case 3:
			if (below(50) == 0)
				execl("/bin/sh", "sh", "-c", "exec sleep 0.0$((RANDOM % 10))",
				      NULL);
			break;
		case 4 ... 15:
			change_memory();
			break;
		default:
			use(i);
		}
	}
	_exit(0);
}

static pid_t begin(unsigned int which, unsigned int seed)
{
	pid_t pid = fork();

	if (pid == 0) {
		/* A process group per process, so that its children can be killed with it. */
		setpgid(0, 0);
		one(which, seed);
	}
	shared->pids[which] = pid;
	return pid;
}

TEST(all_devices)
{
	const char *text = getenv("TETHER_SECONDS");
	unsigned int seed = storm_seed(), random = seed, killed = 0, begun = 0, i;
	time_t end = time(NULL) + (text ? atol(text) : 8);
	pid_t pid;

	for (i = 0; i < DEVICES; i++)
		ASSERT_EQ(0, chmod(devices[i], 0666));
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	ASSERT_NE(MAP_FAILED, shared);
	TH_LOG("seed %u (TETHER_SEED)", seed);
	for (i = 0; i < PROCESSES; i++, begun++)
		ASSERT_LT(0, begin(i, seed + begun));
	while (time(NULL) < end) {
		usleep(20000);
		if (next_random(&random) % 20 == 0) {
			kill(shared->pids[next_random(&random) % PROCESSES], SIGKILL);
			killed++;
		}
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			for (i = 0; i < PROCESSES; i++)
				if (shared->pids[i] == pid) {
					kill(-pid, SIGKILL);
					ASSERT_LT(0, begin(i, seed + begun++));
				}
	}
	shared->stop = 1;
	/* A process that waits is interrupted by its alarm; otherwise it is stuck. */
	for (i = 0; i < PROCESSES; i++) {
		int waited = 0;

		while (waitpid(shared->pids[i], NULL, WNOHANG) == 0) {
			usleep(100000);
			if (++waited == 100)
				kill(-shared->pids[i], SIGKILL);
			ASSERT_GT(400, waited) {
				char command[64];

				snprintf(command, sizeof(command), "cat /proc/%d/stack >&2",
					 shared->pids[i]);
				system(command);
				TH_LOG("process %d does not end", shared->pids[i]);
			}
		}
		/* Kill the children that the process has left. */
		kill(-shared->pids[i], SIGKILL);
	}
	for (i = 0; i < DEVICES; i++)
		chmod(devices[i], 0600);
	TH_LOG("%u processes, of which %u were killed", begun, killed);
	for (i = 0; i <= DEVICES; i++) {
		TH_LOG("%-28s %8lu done, %8lu refused", i < DEVICES ? devices[i] : "memory",
		       shared->done[i], shared->refused[i]);
		EXPECT_LT(0, shared->done[i]);
	}
	for (i = 0; i < 256; i++)
		if (shared->errnos[i])
			TH_LOG("%-28s %8lu", strerror(i), shared->errnos[i]);
	/* All errors are errno values that user space knows. */
	for (i = 134; i < 256; i++)
		EXPECT_EQ(0, shared->errnos[i]);
}

TEST_HARNESS_MAIN
