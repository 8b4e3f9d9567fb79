// SPDX-License-Identifier: GPL-2.0
/* Helpers for the numbers of tasks: rust/kernel/pid.rs. */

#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

/**
 * rust_helper_tether_pid_in() - Returns the number of a thread in a pid namespace.
 * @task: task
 * @ns: pid namespace
 *
 * Wraps task_pid_nr_ns(), which is inline.
 *
 * Return: the number, or 0 if the thread has none in the namespace.
 */
__rust_helper pid_t rust_helper_tether_pid_in(struct task_struct *task, struct pid_namespace *ns)
{
	return task_pid_nr_ns(task, ns);
}

/**
 * rust_helper_tether_is_initial_pid_ns() - Tests whether a pid namespace is the initial one.
 * @ns: pid namespace
 *
 * The numbers in this namespace are those that the kernel itself uses.
 *
 * Return: true if a pid namespace is the initial one.
 */
__rust_helper bool rust_helper_tether_is_initial_pid_ns(struct pid_namespace *ns)
{
	return ns == &init_pid_ns;
}

/**
 * rust_helper_same_thread_group() - Tests whether two tasks are threads of one process.
 * @p1: task
 * @p2: task
 *
 * Wraps same_thread_group(), which is inline.
 *
 * Return: true if the tasks are threads of one process.
 */
__rust_helper bool rust_helper_same_thread_group(struct task_struct *p1, struct task_struct *p2)
{
	return same_thread_group(p1, p2);
}
