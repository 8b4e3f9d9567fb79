// SPDX-License-Identifier: GPL-2.0
/*
 * What is inline or a macro in C, as functions that Rust can call; the counterpart of
 * rust/helpers/helpers.c in the kernel, one file a header. Sorted alphabetically.
 */

#include <linux/compiler_types.h>

/* Real functions here: bindgen reads them, and nothing inlines them. */
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
