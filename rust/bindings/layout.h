/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The layout guard: the C offsets of the fields that Rust code accesses through bindings.
 *
 * bindgen drops the alignment of an empty struct. With CONFIG_SCHEDSTATS=n, struct
 * sched_statistics is an empty, aligned struct, and the bindings contain wrong offsets for most
 * fields of task_struct: reading the pid, the mm or the flags returns garbage.
 * rust/bindings/mod.rs compares these constants with the bindings at compile time.
 */

#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/mm_types.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/stddef.h>
#include <linux/task_work.h>
#include <linux/timer.h>

enum {
	TETHER_SIZE_task_struct = sizeof(struct task_struct),
	TETHER_OFFSET_task_struct_files = offsetof(struct task_struct, files),
	TETHER_OFFSET_task_struct_flags = offsetof(struct task_struct, flags),
	TETHER_OFFSET_task_struct_mm = offsetof(struct task_struct, mm),
	TETHER_OFFSET_task_struct_pagefault_disabled =
		offsetof(struct task_struct, pagefault_disabled),
	TETHER_OFFSET_task_struct_pi_lock = offsetof(struct task_struct, pi_lock),
	TETHER_OFFSET_task_struct_pid = offsetof(struct task_struct, pid),
	TETHER_OFFSET_task_struct_start_boottime = offsetof(struct task_struct, start_boottime),
	TETHER_OFFSET_task_struct_tgid = offsetof(struct task_struct, tgid),
	TETHER_OFFSET_task_struct_group_leader = offsetof(struct task_struct, group_leader),
	TETHER_OFFSET_task_struct_task_works = offsetof(struct task_struct, task_works),

	TETHER_SIZE_callback_head = sizeof(struct callback_head),
	TETHER_SIZE_completion = sizeof(struct completion),
	TETHER_SIZE_list_head = sizeof(struct list_head),

	TETHER_SIZE_kthread_worker = sizeof(struct kthread_worker),
	TETHER_OFFSET_kthread_worker_flags = offsetof(struct kthread_worker, flags),
	TETHER_OFFSET_kthread_worker_lock = offsetof(struct kthread_worker, lock),
	TETHER_OFFSET_kthread_worker_work_list = offsetof(struct kthread_worker, work_list),
	TETHER_OFFSET_kthread_worker_delayed_work_list =
		offsetof(struct kthread_worker, delayed_work_list),
	TETHER_OFFSET_kthread_worker_task = offsetof(struct kthread_worker, task),
	TETHER_OFFSET_kthread_worker_current_work = offsetof(struct kthread_worker, current_work),
	TETHER_SIZE_kthread_work = sizeof(struct kthread_work),
	TETHER_OFFSET_kthread_work_node = offsetof(struct kthread_work, node),
	TETHER_OFFSET_kthread_work_func = offsetof(struct kthread_work, func),
	TETHER_OFFSET_kthread_work_worker = offsetof(struct kthread_work, worker),
	TETHER_OFFSET_kthread_work_canceling = offsetof(struct kthread_work, canceling),
	TETHER_SIZE_kthread_delayed_work = sizeof(struct kthread_delayed_work),
	TETHER_OFFSET_kthread_delayed_work_work = offsetof(struct kthread_delayed_work, work),
	TETHER_OFFSET_kthread_delayed_work_timer = offsetof(struct kthread_delayed_work, timer),
	TETHER_SIZE_timer_list = sizeof(struct timer_list),
	TETHER_OFFSET_timer_list_expires = offsetof(struct timer_list, expires),

	TETHER_SIZE_mmu_notifier = sizeof(struct mmu_notifier),
	TETHER_OFFSET_mmu_notifier_ops = offsetof(struct mmu_notifier, ops),
	TETHER_OFFSET_mmu_notifier_mm = offsetof(struct mmu_notifier, mm),

	TETHER_SIZE_mmu_notifier_ops = sizeof(struct mmu_notifier_ops),
	TETHER_OFFSET_mmu_notifier_ops_release = offsetof(struct mmu_notifier_ops, release),
	TETHER_OFFSET_mmu_notifier_ops_invalidate_range_start =
		offsetof(struct mmu_notifier_ops, invalidate_range_start),
	TETHER_OFFSET_mmu_notifier_ops_invalidate_range_end =
		offsetof(struct mmu_notifier_ops, invalidate_range_end),
	TETHER_OFFSET_mmu_notifier_ops_clear_flush_young =
		offsetof(struct mmu_notifier_ops, clear_flush_young),
	TETHER_OFFSET_mmu_notifier_ops_clear_young = offsetof(struct mmu_notifier_ops, clear_young),
	TETHER_OFFSET_mmu_notifier_ops_test_young = offsetof(struct mmu_notifier_ops, test_young),
	TETHER_OFFSET_mmu_notifier_ops_arch_invalidate_secondary_tlbs =
		offsetof(struct mmu_notifier_ops, arch_invalidate_secondary_tlbs),

	TETHER_SIZE_mmu_notifier_range = sizeof(struct mmu_notifier_range),
	TETHER_OFFSET_mmu_notifier_range_mm = offsetof(struct mmu_notifier_range, mm),
	TETHER_OFFSET_mmu_notifier_range_start = offsetof(struct mmu_notifier_range, start),
	TETHER_OFFSET_mmu_notifier_range_end = offsetof(struct mmu_notifier_range, end),
	TETHER_OFFSET_mmu_notifier_range_flags = offsetof(struct mmu_notifier_range, flags),
	TETHER_OFFSET_mmu_notifier_range_event = offsetof(struct mmu_notifier_range, event),
	TETHER_OFFSET_mmu_notifier_range_owner = offsetof(struct mmu_notifier_range, owner),

	TETHER_SIZE_mmu_interval_notifier = sizeof(struct mmu_interval_notifier),
	TETHER_OFFSET_mmu_interval_notifier_invalidate_seq =
		offsetof(struct mmu_interval_notifier, invalidate_seq),
	TETHER_SIZE_mmu_interval_notifier_ops = sizeof(struct mmu_interval_notifier_ops),
	TETHER_OFFSET_mmu_interval_notifier_ops_invalidate =
		offsetof(struct mmu_interval_notifier_ops, invalidate),

	TETHER_SIZE_miscdevice = sizeof(struct miscdevice),
	TETHER_OFFSET_miscdevice_fops = offsetof(struct miscdevice, fops),
	TETHER_OFFSET_miscdevice_minor = offsetof(struct miscdevice, minor),
	TETHER_OFFSET_miscdevice_name = offsetof(struct miscdevice, name),
	TETHER_OFFSET_miscdevice_this_device = offsetof(struct miscdevice, this_device),
	TETHER_SIZE_file_operations = sizeof(struct file_operations),
	TETHER_OFFSET_file_operations_poll = offsetof(struct file_operations, poll),
	TETHER_OFFSET_kiocb_ki_filp = offsetof(struct kiocb, ki_filp),
	TETHER_OFFSET_file_f_flags = offsetof(struct file, f_flags),
};
