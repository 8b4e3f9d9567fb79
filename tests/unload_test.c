// SPDX-License-Identifier: GPL-2.0
/*
 * Objects that a module leaves behind when it is unloaded. Needs the module tether; loads and
 * unloads other modules from the directory TETHER_MODULES.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "modules.h"
#include "test_mmu_notifier.h"
#include "test_torture.h"
#include "tether_test.h"

/* Makes the kernel reuse freed memory. */
static void work_the_machine(void)
{
	int i;

	for (i = 0; i < 50; i++) {
		void *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		munmap(memory, 1 << 20);
		if (fork() == 0)
			_exit(0);
		wait(NULL);
	}
}

static int open_device(void)
{
	int tries, fd;

	for (tries = 0; tries < 100; tries++) {
		fd = open("/dev/tether-test", O_RDWR | O_CLOEXEC);
		if (fd >= 0)
			return fd;
		usleep(10000);
	}
	return -errno;
}

static pid_t sleeper(void)
{
	pid_t child = fork();

	if (child == 0) {
		pause();
		_exit(0);
	}
	usleep(50000);
	return child;
}

/*
 * Loads tether_test, and adds a work of it to a sleeping process. Returns the pid of the process.
 * If @device is set, the file by which the work was added stays open in *@device.
 */
static pid_t load_and_queue(struct __test_metadata *_metadata, unsigned int kind, int *device)
{
	struct tether_test_add argument = {
		.mode = TETHER_TEST_RESUME,
		.kind = kind,
		.count = 3,
	};
	int fd;

	argument.tid = sleeper();
	ASSERT_EQ(0, load("tether_test"));
	fd = open_device();
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioctl(fd, TETHER_TEST_ADD, &argument));
	if (device)
		*device = fd;
	else
		close(fd);
	return argument.tid;
}

/* Kills the process, which runs its works, and waits for its end. */
static void end(struct __test_metadata *_metadata, pid_t child)
{
	int status;

	kill(child, SIGKILL);
	ASSERT_EQ(child, waitpid(child, &status, 0));
}

FIXTURE(unload)
{
};

FIXTURE_SETUP(unload)
{
	/* Unload the modules that a failed test may have left. */
	unload("leak");
	unload("filler");
	unload("rust_kthread");
	unload("stubborn");
	unload("test_mmu_notifier");
	unload("tether_test");
	unload("test_torture");
	load("ledger");
}

FIXTURE_TEARDOWN(unload)
{
	unload("ledger");
}

/* A pending work is listed, and rmmod fails; after the work has run, rmmod succeeds. */
TEST_F(unload, pending_work_is_in_use)
{
	int round;

	for (round = 0; round < 10; round++) {
		pid_t child = load_and_queue(_metadata, round % 3, NULL);

		EXPECT_EQ(-EAGAIN, unload("tether_test"));
		EXPECT_EQ(1, outstanding("tether_test task_work"));
		end(_metadata, child);
		EXPECT_EQ(0, outstanding("tether_test task_work"));
		ASSERT_EQ(0, unload("tether_test"));
	}
}

/* An init that queues works, leaks a thread and then fails leaves nothing behind. */
TEST_F(unload, failed_init)
{
	int round;

	for (round = 0; round < 20; round++) {
		ASSERT_EQ(-EUCLEAN, load("fail_init"));
		work_the_machine();
		EXPECT_EQ(0, outstanding("fail_init"));
	}
}

/*
 * The module that leaks. TETHER_LEAK names a C module that leaves its callbacks registered, to
 * show that the tests detect this.
 */
static const char *leaky(void)
{
	const char *name = getenv("TETHER_LEAK");

	return name ? name : "leak";
}

/* Returns the address of a module's text, or 0 if there is no such module. */
static unsigned long text_of(const char *module)
{
	char path[128];
	unsigned long address = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/module/%s/sections/.text", module);
	file = fopen(path, "r");
	if (!file)
		return 0;
	fscanf(file, "%lx", &address);
	fclose(file);
	return address;
}

static void ignore(int signal)
{
}

/* Triggers every possible call of leaked objects: by this task, its address space or a device. */
static void live_on(void)
{
	struct pollfd device = { .events = POLLIN };
	struct sigaction action = { .sa_handler = ignore };
	int round;

	sigaction(SIGUSR1, &action, NULL);
	for (round = 0; round < 5; round++) {
		char *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		madvise(memory, 1 << 19, MADV_DONTNEED);
		madvise(memory, 1 << 20, MADV_PAGEOUT);
		mprotect(memory, 1 << 20, PROT_READ);
		munmap(memory, 1 << 20);
		if (fork() == 0)
			_exit(0);
		wait(NULL);
		kill(getpid(), SIGUSR1);
		device.fd = open("/dev/tether-kinds", O_RDWR | O_CLOEXEC);
		if (device.fd >= 0) {
			poll(&device, 1, 0);
			close(device.fd);
		}
		usleep(1000);
	}
}

/* The process that loads a module. Objects of the module are left on this process. */
struct loader {
	pid_t pid;
	int go;		/* closing this lets the process continue */
	int ready;
};

/* Creates a child that the caller traces, for the kinds that need one. */
static pid_t tracee(void)
{
	pid_t child = fork();

	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(child, NULL, WUNTRACED);
	return child;
}

/* Creates a TakenFile of descriptor 100 and leaks it. Only an ioctl handler can take a file. */
static int forget_file(void)
{
	struct torture torture = { .action = TORTURE_MAKE };
	struct count counts[MOST_KINDS];
	int kinds = read_ledger(counts), tries, fd = -1, ret;

	while ((int)torture.kind < kinds && strcmp(counts[torture.kind].kind, "TakenFile"))
		torture.kind++;
	for (tries = 0; tries < 100 && fd < 0; tries++) {
		fd = open("/dev/test-torture", O_RDWR | O_CLOEXEC);
		if (fd < 0)
			usleep(10000);
	}
	ret = ioctl(fd, TORTURE, &torture) ? -errno : 0;
	torture.action = TORTURE_FORGET;
	if (!ret)
		ret = ioctl(fd, TORTURE, &torture) ? -errno : 0;
	close(fd);
	return ret;
}

/* Forks a process that loads a module with these parameters. Returns the result of the load. */
static int load_elsewhere(struct loader *loader, const char *name, const char *parameters,
			  bool traces)
{
	int go[2], ready[2], ret = -EPIPE;

	if (pipe2(go, O_CLOEXEC) || pipe2(ready, O_CLOEXEC))
		return -errno;
	loader->pid = fork();
	if (loader->pid == 0) {
		char text[256];

		close(go[1]);
		/* A file for the kind TakenFile. */
		dup2(open("/dev/null", O_RDONLY), 100);
		snprintf(text, sizeof(text), "%s%s%d", parameters, traces ? " target=" : "",
			 traces ? tracee() : 0);
		ret = load_with(name, traces ? text : parameters);
		if (!ret && !strcmp(name, "test_torture"))
			ret = forget_file();
		write(ready[1], &ret, sizeof(ret));
		read(go[0], text, 1);
		live_on();
		_exit(0);
	}
	close(go[0]);
	close(ready[1]);
	loader->go = go[1];
	loader->ready = ready[0];
	read(ready[0], &ret, sizeof(ret));
	return ret;
}

/* Lets the process continue, and returns its exit status. */
static int end_of(struct loader *loader)
{
	int status = -1;

	close(loader->go);
	close(loader->ready);
	waitpid(loader->pid, &status, 0);
	return status;
}

/* Unloads a module as soon as it is not pinned. */
static int unload_soon(const char *name)
{
	int tries, ret = -EAGAIN;

	for (tries = 0; tries < 500 && ret == -EAGAIN; tries++) {
		ret = unload(name);
		usleep(10000);
	}
	return ret;
}

/* Modules that are loaded into the place of an unloaded module: trap instructions, and others. */
static const char *const others[] = { "filler", "rust_kthread", "tether_test" };

/* Loads these modules. Returns whether the text of a module is at this address. */
static bool fill(unsigned long address)
{
	bool taken = false;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(others); i++) {
		load(others[i]);
		taken |= text_of(others[i]) == address;
	}
	return taken;
}

static void empty(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(others); i++)
		unload(others[i]);
}

/*
 * Leaks an object of each kind, unloads its module, and loads other modules at the same address;
 * then triggers all calls that the leaked object could receive.
 */
TEST_F_TIMEOUT(unload, one_of_each_kind_is_leaked, 1800)
{
	struct count before[MOST_KINDS], after[MOST_KINDS];
	int kinds = read_ledger(before), kind, way, taken = 0, loads = 0;

	ASSERT_LT(0, kinds);
	if (strcmp(leaky(), "leak"))
		kinds = 1;
	for (kind = 0; kind < kinds; kind++) {
		/* The loading process continues after the removal, or has ended before it. */
		for (way = 0; way < 2; way++) {
			bool file = !strcmp(before[kind].kind, "TakenFile");
			const char *name = file ? "test_torture" : leaky();
			struct loader loader;
			unsigned long text;
			char parameters[64];
			bool traces;

			snprintf(parameters, sizeof(parameters), "kind=%d random=%d", kind,
				 way * 0x10107);
			traces = !strcmp(before[kind].kind, "Tracee") ||
				 !strcmp(before[kind].kind, "Permission");
			ASSERT_EQ(0, load_elsewhere(&loader, name,
						    strcmp(name, "leak") ? "" : parameters, traces))
			TH_LOG("%s", before[kind].kind);
			text = text_of(name);
			if (way == 1)
				ASSERT_EQ(0, end_of(&loader));
			ASSERT_EQ(0, unload_soon(name));
			EXPECT_EQ(0, outstanding(file ? "test_torture " : "leak "))
				TH_LOG("%s", before[kind].kind);
			taken += fill(text);
			loads++;
			if (way == 0)
				EXPECT_EQ(0, end_of(&loader))
					TH_LOG("%s", before[kind].kind);
			empty();
		}
		work_the_machine();
	}
	kinds = read_ledger(after);
	for (kind = 0; kind < kinds; kind++) {
		EXPECT_LT(before[kind].made, after[kind].made)
			TH_LOG("%s", after[kind].kind);
		EXPECT_EQ(after[kind].made, after[kind].dropped + after[kind].forgotten)
			TH_LOG("%s", after[kind].kind);
	}
	TH_LOG("%d kinds; the text's place was taken %d of %d times", kinds, taken, loads);
	EXPECT_LT(0, taken);
}

/* The kind that needs a device. */
TEST_F(unload, dma_mirror_is_leaked)
{
	char parameters[64];
	int round;

	for (round = 0; round < 2; round++) {
		struct loader loader;
		unsigned long text;
		int ret;

		snprintf(parameters, sizeof(parameters), "start=%lu length=%u forget=1", 1UL << 44,
			 1 << 20);
		ret = load_elsewhere(&loader, "test_dma_mirror", parameters, false);
		ASSERT_EQ(0, ret);
		text = text_of("test_dma_mirror");
		ASSERT_EQ(0, unload_soon("test_dma_mirror"));
		EXPECT_EQ(0, outstanding("test_dma_mirror"));
		fill(text);
		EXPECT_EQ(0, end_of(&loader));
		work_the_machine();
		empty();
	}
}

/* Returns the number of lines with this text in the kernel log. */
static int said(const char *text)
{
	char command[256];
	FILE *pipe;
	int count = -1;

	snprintf(command, sizeof(command), "dmesg | grep -c '%s'", text);
	pipe = popen(command, "r");
	if (!pipe)
		return -1;
	fscanf(pipe, "%d", &count);
	pclose(pipe);
	return count;
}

/*
 * Teardown ends a leaked mirror first, while a leaked thread still uses it. After that, the mirror
 * has no pages, the device has been notified, and every function returns ENODEV.
 */
TEST_F(unload, ended_mirror_has_no_pages)
{
	int before = said("ended: before: \\[1, 0, 0, 1\\]");
	int told = said("ended: the device is notified of the end");
	int after = said("ended: after: \\[0, -19, -19, 1\\]");
	char *page = mmap((void *)(1UL << 45), 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	struct loader loader;
	char parameters[64];

	ASSERT_NE(MAP_FAILED, page);
	*page = 1;
	snprintf(parameters, sizeof(parameters), "start=%lu", 1UL << 45);
	ASSERT_EQ(0, load_elsewhere(&loader, "ended", parameters, false));
	EXPECT_EQ(before + 1, said("ended: before: \\[1, 0, 0, 1\\]"));
	ASSERT_EQ(0, unload_soon("ended"));
	EXPECT_EQ(told + 1, said("ended: the device is notified of the end"));
	EXPECT_EQ(after + 1, said("ended: after: \\[0, -19, -19, 1\\]"));
	EXPECT_EQ(0, end_of(&loader));
	munmap(page, 4096);
}

/* Teardown waits for a thread and a worker that ignore the stop, and the log names them. */
TEST_F(unload, ignored_stop_is_reported)
{
	const char *ignored = "stubborn.* ignores the stop request: its module cannot be removed";
	int thread = said(ignored);
	int worker = said("a work of worker [0-9]* does not return");
	int late = said("stubborn: a thread that is late: -19");

	ASSERT_EQ(0, load("stubborn"));
	ASSERT_EQ(0, unload("stubborn"));
	EXPECT_EQ(thread + 1, said(ignored));
	EXPECT_EQ(worker + 1, said("a work of worker [0-9]* does not return"));
	EXPECT_EQ(late + 1, said("stubborn: a thread that is late: -19"));
	work_the_machine();
}

static void stay_on(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

/*
 * A shared notifier is freed by an SRCU callback on the CPU that dropped it. The module is removed
 * on another CPU meanwhile, where waiting for a grace period does not wait for this callback.
 */
TEST_F(unload, shared_notifier_dropped_elsewhere)
{
	int round, status;

	for (round = 0; round < 20; round++) {
		pid_t child;
		int i, fd;

		ASSERT_EQ(0, load("test_mmu_notifier"));
		child = fork();
		if (child == 0) {
			stay_on(0);
			for (i = 0; i < 100; i++) {
				fd = open("/dev/test-mmu-notifier", O_RDWR);
				if (fd >= 0)
					break;
				usleep(10000);
			}
			for (i = 0; i < 5; i++)
				if (ioctl(fd, MMU_TEST_GET) || ioctl(fd, MMU_TEST_PUT))
					_exit(1);
			_exit(0);
		}
		stay_on(1);
		ASSERT_EQ(child, waitpid(child, &status, 0));
		ASSERT_EQ(0, status);
		ASSERT_EQ(0, unload("test_mmu_notifier"));
		if (round % 4 == 0)
			work_the_machine();
	}
}

/* The kernel calls functions of the module tether: it cannot be unloaded. */
TEST_F(unload, tether_stays)
{
	EXPECT_EQ(-EBUSY, unload("tether"));
}

/* A module can be unloaded after its closures were cancelled, even if their nodes are linked. */
TEST_F(unload, cancelled_closure)
{
	int round;

	for (round = 0; round < 10; round++) {
		int fd;
		pid_t child = load_and_queue(_metadata, TETHER_TEST_KEEP_CLOSURE, &fd);

		ASSERT_EQ(0, ioctl(fd, TETHER_TEST_CANCEL, 0));
		close(fd);
		EXPECT_EQ(0, unload("tether_test"));
		work_the_machine();
		/*
		 * The node is still linked, and its owner record is stale. The teardown of another
		 * module and the code that lists works must not follow the record.
		 */
		EXPECT_EQ(-EUCLEAN, load("fail_init"));
		EXPECT_EQ(0, outstanding("tether_test"));
		end(_metadata, child);
	}
}

/* Load; add to a sleeping process; rmmod fails (in use); run the work; rmmod succeeds. */
TEST_F(unload, storm)
{
	static const unsigned int kinds[] = { TETHER_TEST_BOX, TETHER_TEST_ARC, TETHER_TEST_CLOSURE,
					      TETHER_TEST_ORDERED };
	int rounds = getenv("TETHER_STORM") ? atoi(getenv("TETHER_STORM")) : 20, round;

	for (round = 0; round < rounds; round++) {
		pid_t child = load_and_queue(_metadata, kinds[round % 4], NULL);

		ASSERT_EQ(-EAGAIN, unload("tether_test"));
		end(_metadata, child);
		ASSERT_EQ(0, unload("tether_test"));
	}
}

TEST_F(unload, rmmod_straight_after_load)
{
	int round;

	for (round = 0; round < 20; round++) {
		ASSERT_EQ(0, load("rust_kthread"));
		ASSERT_EQ(0, unload("rust_kthread"));
	}
}

/* Returns the size of the kernel's own memory, in KiB. */
static long kernel_memory(void)
{
	static const char *const parts[] = { "SUnreclaim:", "VmallocUsed:", "Percpu:" };
	FILE *file = fopen("/proc/meminfo", "r");
	char name[32], line[128];
	unsigned int i;
	long sum = 0, part;

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%31s %ld", name, &part) == 2)
			for (i = 0; i < ARRAY_SIZE(parts); i++)
				sum += strcmp(name, parts[i]) ? 0 : part;
	fclose(file);
	return sum;
}

/* Returns the number of entries in debugfs that a module could leave behind. */
static int debugfs_entries(void)
{
	FILE *pipe = popen("find /sys/kernel/debug -maxdepth 2 | wc -l", "r");
	int count = -1;

	if (!pipe)
		return -1;
	fscanf(pipe, "%d", &count);
	pclose(pipe);
	return count;
}

/*
 * Loading and unloading a module leaks no record, no name in debugfs and no memory. A hundred
 * rounds come first, so that caches reach their final size.
 */
TEST_F_TIMEOUT(unload, many_loads_leave_nothing, 1800)
{
	int loads = getenv("TETHER_LOADS") ? atoi(getenv("TETHER_LOADS")) : 300, round, entries = 0;
	long before = 0, grown;

	for (round = -100; round < loads; round++) {
		if (round == 0) {
			before = kernel_memory();
			entries = debugfs_entries();
		}
		ASSERT_EQ(0, load("rust_kthread"));
		ASSERT_EQ(0, unload("rust_kthread"));
	}
	/* Wait for memory that RCU and workqueues free later. */
	sleep(2);
	grown = kernel_memory() - before;
	TH_LOG("%d loads: %ld KiB more", loads, grown);
	EXPECT_EQ(entries, debugfs_entries());
	EXPECT_EQ(0, outstanding("rust_kthread"));
	/* The record of a module takes more than 128 bytes, so that a leak per load is detected. */
	EXPECT_GT(1024 + loads / 8, grown);
}

TEST_HARNESS_MAIN
