// SPDX-License-Identifier: GPL-2.0

#include <linux/capability.h>
#include <linux/ptrace.h>
#include <linux/rcupdate.h>
#include <linux/sched/exec_state.h>

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
