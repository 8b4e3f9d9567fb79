/* SPDX-License-Identifier: GPL-2.0 */
/* Random operations on memory for which a driver has secondary page tables. */
#ifndef _TETHER_STORM_H
#define _TETHER_STORM_H

#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define STORM_PAGES	512

/* The address of the memory, aligned so that it can be a huge page. */
#define STORM_MEMORY	((void *)(1UL << 44))

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

enum { UNMAP, MOVE, DISCARD, PROTECT, FORK, RECLAIM, TRUNCATE, REPLACE, WRITE, COLLAPSE, ACTIONS };

static const char *const actions[] = {
	"unmap",   "move",     "discard",	    "protect", "fork",
	"reclaim", "truncate", "replace by a file", "write",   "collapse",
};

static inline unsigned int next_random(unsigned int *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

/* The duration from an environment variable, and the seed of the random numbers. */
static inline long storm_seconds(const char *name)
{
	const char *text = getenv(name);

	return text ? atol(text) : 5;
}

static inline unsigned int storm_seed(void)
{
	const char *text = getenv("TETHER_SEED");

	return text ? atoi(text) : time(NULL);
}

#endif
