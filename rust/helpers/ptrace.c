// SPDX-License-Identifier: GPL-2.0
/* Helpers for access to a tracee: rust/kernel/ptrace.rs. */

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/ptrace.h>
#include <linux/rcupdate.h>
#include <linux/sched/exec_state.h>
#include <linux/security.h>

/**
 * rust_helper_tether_stopped_tracee() - Tests whether the current task traces a task and has it
 * stopped.
 * @task: task
 *
 * ptrace_parent() is inline, and task_is_traced() is a macro.
 *
 * Return: true if the current task traces a task and has it stopped.
 */
__rust_helper bool rust_helper_tether_stopped_tracee(struct task_struct *task)
{
	guard(rcu)();
	return ptrace_parent(task) == current && task_is_traced(task);
}

/**
 * rust_helper_tether_may_inspect() - Tests whether the dumpability of a task permits the current
 * task to inspect it.
 * @task: task to inspect
 *
 * Implements this rule of ptrace_may_access(), which is not exported to modules: CAP_SYS_PTRACE
 * is required unless the program is dumpable by its owner.
 *
 * Return: true if the dumpability of a task permits the current task to inspect it.
 */
__rust_helper bool rust_helper_tether_may_inspect(struct task_struct *task)
{
	const struct task_exec_state *exec_state;

	guard(rcu)();
	exec_state = rcu_dereference(task->exec_state);
	if (READ_ONCE(exec_state->dumpable) == TASK_DUMPABLE_OWNER)
		return true;
	return ns_capable(exec_state->user_ns, CAP_SYS_PTRACE);
}

/**
 * rust_helper_tether_as_permitted_as() - Tests whether a permission to inspect the current task
 * still holds.
 * @before: credentials of the current task when the permission was given
 *
 * The permission holds if the current credentials have the same real, effective and saved user
 * and group IDs, the same user namespace and the same security label as @before, and no further
 * permitted capabilities, and if the program is dumpable by its owner. The result does not
 * depend on the task that has got the permission.
 *
 * Return: true if a permission to inspect the current task still holds.
 */
__rust_helper bool rust_helper_tether_as_permitted_as(const struct cred *before)
{
	const struct task_exec_state *exec_state;
	const struct cred *now = current_cred();
	u32 label_before, label_now;

	security_cred_getsecid(before, &label_before);
	security_cred_getsecid(now, &label_now);
	guard(rcu)();
	exec_state = rcu_dereference(current->exec_state);
	return READ_ONCE(exec_state->dumpable) == TASK_DUMPABLE_OWNER &&
	       uid_eq(now->uid, before->uid) && uid_eq(now->euid, before->euid) &&
	       uid_eq(now->suid, before->suid) && gid_eq(now->gid, before->gid) &&
	       gid_eq(now->egid, before->egid) && gid_eq(now->sgid, before->sgid) &&
	       now->user_ns == before->user_ns && label_now == label_before &&
	       cap_issubset(now->cap_permitted, before->cap_permitted);
}

/**
 * rust_helper_tether_current_is_dumpable() - Tests whether the user of the current task may
 * inspect its program.
 *
 * See PR_SET_DUMPABLE in prctl(2).
 *
 * Return: true if the user of the current task may inspect its program.
 */
__rust_helper bool rust_helper_tether_current_is_dumpable(void)
{
	const struct task_exec_state *exec_state;

	guard(rcu)();
	exec_state = rcu_dereference(current->exec_state);
	return exec_state && READ_ONCE(exec_state->dumpable) == TASK_DUMPABLE_OWNER;
}
