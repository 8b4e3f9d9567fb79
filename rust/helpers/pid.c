// SPDX-License-Identifier: GPL-2.0

#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>

/*
 * find_get_task_by_vpid(), which modules cannot call; but for a kernel thread. The namespace is
 * that of the current task, which has none after it has passed exit_notify().
 */
__rust_helper struct task_struct *rust_helper_tether_find_user_task(pid_t number)
{
	struct pid_namespace *namespace;
	struct task_struct *task;

	if (!in_task())
		return NULL;
	guard(rcu)();
	namespace = task_active_pid_ns(current);
	if (!namespace)
		return NULL;
	task = pid_task(find_pid_ns(number, namespace), PIDTYPE_PID);
	if (!task || task->flags & PF_KTHREAD)
		return NULL;
	return get_task_struct(task);
}

/* The number of the thread @task in @ns; 0 if it has none there. */
__rust_helper pid_t rust_helper_tether_pid_in(struct task_struct *task, struct pid_namespace *ns)
{
	return task_pid_nr_ns(task, ns);
}

/* Whether numbers in @ns are those that the kernel itself uses. */
__rust_helper bool rust_helper_tether_is_initial_pid_ns(struct pid_namespace *ns)
{
	return ns == &init_pid_ns;
}
