// SPDX-License-Identifier: GPL-2.0

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/ptrace.h>
#include <linux/rcupdate.h>
#include <linux/sched/exec_state.h>
#include <linux/security.h>

/* Whether the current task traces @task, and has it stopped. */
__rust_helper bool rust_helper_tether_stopped_tracee(struct task_struct *task)
{
	guard(rcu)();
	return ptrace_parent(task) == current && task_is_traced(task);
}

/* The dumpable rule of ptrace_may_access(), which modules cannot call. */
__rust_helper bool rust_helper_tether_may_inspect(struct task_struct *task)
{
	const struct task_exec_state *exec_state;

	guard(rcu)();
	exec_state = rcu_dereference(task->exec_state);
	if (READ_ONCE(exec_state->dumpable) == TASK_DUMPABLE_OWNER)
		return true;
	return ns_capable(exec_state->user_ns, CAP_SYS_PTRACE);
}

/*
 * Whether who could look into the current task when its credentials were @before may still do so,
 * whoever that was: they are the same, or less, and the program is not one that only root may look
 * into.
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

/* Whether its user may inspect the program of the current task. */
__rust_helper bool rust_helper_tether_current_is_dumpable(void)
{
	const struct task_exec_state *exec_state;

	guard(rcu)();
	exec_state = rcu_dereference(current->exec_state);
	return exec_state && READ_ONCE(exec_state->dumpable) == TASK_DUMPABLE_OWNER;
}
