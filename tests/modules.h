/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Loads and unloads test modules from the directory TETHER_MODULES, and reads the objects that they
 * leave behind.
 */
#ifndef _TETHER_MODULES_H
#define _TETHER_MODULES_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Returns 0, or the error. */
static inline int load_with(const char *name, const char *parameters)
{
	char path[512];
	int fd, ret;

	snprintf(path, sizeof(path), "%s/%s.ko", getenv("TETHER_MODULES"), name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, parameters, 0) ? -errno : 0;
	close(fd);
	return ret;
}

static inline int load(const char *name)
{
	return load_with(name, "");
}

static inline int unload(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

/* Returns the number of lines of tether/outstanding with this word; NULL: all but the first. */
static inline int outstanding(const char *word)
{
	char line[512];
	int found = 0;
	FILE *file = fopen("/sys/kernel/debug/tether/outstanding", "r");

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		found += line[0] != '#' && (!word || strstr(line, word));
	fclose(file);
	return found;
}

/* A line of the ledger, tether_ledger/counts. */
struct count {
	char kind[32];
	long made;
	long dropped;
	long forgotten;
};

#define MOST_KINDS	64

/* Reads the ledger. Returns the number of kinds, or 0 if there is no ledger. */
static inline int read_ledger(struct count *counts)
{
	char line[256];
	int kinds = 0;
	FILE *file = fopen("/sys/kernel/debug/tether_ledger/counts", "r");

	if (!file)
		return 0;
	while (kinds < MOST_KINDS && fgets(line, sizeof(line), file)) {
		struct count *count = &counts[kinds];

		if (sscanf(line, "%31s %ld %ld %ld", count->kind, &count->made, &count->dropped,
			   &count->forgotten) == 4)
			kinds++;
	}
	fclose(file);
	return kinds;
}

#endif
