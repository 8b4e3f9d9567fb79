// SPDX-License-Identifier: GPL-2.0
/*
 * C wrappers of inline functions and macros, which Rust code cannot call. Includes one file for
 * each area, in alphabetical order, as the kernel's rust/helpers/helpers.c does.
 */

#include <linux/compiler_types.h>

/* Helpers are ordinary functions here: bindgen finds them, and Rust code does not inline them. */
#define __rust_helper

#include "hmm.c"
#include "kthread.c"
#include "list.c"
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
#include "timer.c"
#include "user_stack.c"
#include "xarray.c"
