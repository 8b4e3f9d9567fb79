// SPDX-License-Identifier: GPL-2.0
/*
 * Functions for inline functions and macros of C, which Rust code cannot call. This is the
 * counterpart of the kernel's file of this name: one file for each area, sorted
 * alphabetically.
 */

#include <linux/compiler_types.h>

/* Helpers are ordinary functions here: bindgen finds them, and Rust code does not inline them. */
#define __rust_helper

#include "hmm.c"
#include "kthread.c"
#include "misc_device.c"
#include "mm.c"
#include "mmu_notifier.c"
#include "module.c"
#include "pid.c"
#include "preempt.c"
#include "ptrace.c"
#include "signal.c"
#include "spinlock.c"
#include "syscall.c"
#include "task_work.c"
#include "user_stack.c"
