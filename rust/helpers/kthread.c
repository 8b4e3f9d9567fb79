// SPDX-License-Identifier: GPL-2.0
/* Helpers for kernel threads and workers: rust/kernel/kthread.rs and rust/kernel/kthread/. */

#include <linux/cpumask.h>
#include <linux/freezer.h>
#include <linux/kthread.h>
#include <linux/nodemask.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/topology.h>
#include <uapi/linux/sched/types.h>

/**
 * rust_helper_set_current_state() - Sets the state of the current task.
 * @state: state of a task (TASK_*)
 *
 * Wraps set_current_state(), which is a macro.
 */
__rust_helper void rust_helper_set_current_state(unsigned int state)
{
	set_current_state(state);
}

/**
 * rust_helper_set_tsk_thread_flag() - Sets a flag of a task.
 * @task: task
 * @flag: number of the flag (TIF_*)
 *
 * Wraps set_tsk_thread_flag(), which is inline.
 */
__rust_helper void rust_helper_set_tsk_thread_flag(struct task_struct *task, int flag)
{
	set_tsk_thread_flag(task, flag);
}

/**
 * rust_helper_clear_notify_signal() - Clears TIF_NOTIFY_SIGNAL of the current task.
 *
 * Wraps clear_notify_signal(), which is inline.
 */
__rust_helper void rust_helper_clear_notify_signal(void)
{
	clear_notify_signal();
}

/**
 * rust_helper_task_sigpending() - Tests whether a task has a pending signal.
 * @task: task
 *
 * Wraps task_sigpending(), which is inline. It differs from signal_pending() in that a request to
 * stop a kernel thread is no signal.
 *
 * Return: other than 0 if @task has a pending signal.
 */
__rust_helper int rust_helper_task_sigpending(struct task_struct *task)
{
	return task_sigpending(task);
}

/**
 * rust_helper_kernel_dequeue_signal() - Dequeues a signal of the current kernel thread.
 *
 * Wraps kernel_dequeue_signal(), which is inline.
 *
 * Return: the number of the signal, or 0 if none is pending.
 */
__rust_helper int rust_helper_kernel_dequeue_signal(void)
{
	return kernel_dequeue_signal();
}

/**
 * rust_helper_allow_signal() - Lets the current kernel thread receive a signal.
 * @sig: number of the signal
 *
 * Wraps allow_signal(), which is inline.
 */
__rust_helper void rust_helper_allow_signal(int sig)
{
	allow_signal(sig);
}

/**
 * rust_helper_tether_set_freezable() - Makes the current kernel thread freezable.
 *
 * Wraps set_freezable(), which is inline without CONFIG_FREEZER.
 */
__rust_helper void rust_helper_tether_set_freezable(void)
{
	set_freezable();
}

/**
 * rust_helper_tether_set_nofreeze() - Makes the current kernel thread not freezable.
 *
 * Undoes set_freezable(): the freezer does not wait for this thread. The kernel has no function
 * for this. Only the current task changes its flags, so that no lock is needed.
 */
__rust_helper void rust_helper_tether_set_nofreeze(void)
{
	current->flags |= PF_NOFREEZE;
}

/**
 * rust_helper_node_online() - Tests whether a NUMA node is online.
 * @node: number of the node; must be less than MAX_NUMNODES
 *
 * Wraps node_online(), which is inline or a macro.
 *
 * Return: true if a NUMA node is online.
 */
__rust_helper bool rust_helper_node_online(unsigned int node)
{
	return node_online(node);
}

/**
 * rust_helper_cpu_possible() - Tests whether a CPU is possible.
 * @cpu: number of the CPU; must be less than nr_cpu_ids
 *
 * Wraps cpu_possible(), which is inline or a macro.
 *
 * Return: true if a CPU is possible.
 */
__rust_helper bool rust_helper_cpu_possible(unsigned int cpu)
{
	return cpu_possible(cpu);
}

/**
 * rust_helper_tether_cpu_to_node() - Returns the NUMA node of a CPU.
 * @cpu: possible CPU
 *
 * Wraps cpu_to_node(), which is inline or a macro.
 *
 * Return: the node.
 */
__rust_helper int rust_helper_tether_cpu_to_node(unsigned int cpu)
{
	return cpu_to_node(cpu);
}

/**
 * rust_helper_tether_set_deadline() - Sets the policy SCHED_DEADLINE.
 * @task: task
 * @runtime: CPU time in each period, in nanoseconds
 * @deadline: time in which the task gets @runtime
 * @period: length of a period
 *
 * struct sched_attr is declared in a header that the bindings do not include.
 *
 * Return: 0, or an error of sched_setattr_nocheck().
 */
__rust_helper int rust_helper_tether_set_deadline(struct task_struct *task, u64 runtime,
						  u64 deadline, u64 period)
{
	struct sched_attr attr = {
		.size = sizeof(attr),
		.sched_policy = SCHED_DEADLINE,
		.sched_runtime = runtime,
		.sched_deadline = deadline,
		.sched_period = period,
	};

	return sched_setattr_nocheck(task, &attr);
}

/**
 * rust_helper_tether_may_use_all_cpus() - Tests whether a task may run on all online CPUs.
 * @task: task
 *
 * The kernel requires this of a deadline task that a user creates.
 *
 * Return: true if the task may run on all online CPUs.
 */
__rust_helper bool rust_helper_tether_may_use_all_cpus(struct task_struct *task)
{
	return cpumask_subset(cpu_online_mask, task->cpus_ptr);
}

/**
 * rust_helper_kthread_init_work() - Initialises a work.
 * @work: work
 * @func: function of the work
 *
 * Wraps kthread_init_work(), which is a macro.
 */
__rust_helper void rust_helper_kthread_init_work(struct kthread_work *work,
						 kthread_work_func_t func)
{
	kthread_init_work(work, func);
}

/**
 * rust_helper_kthread_init_delayed_work() - Initialises a delayed work.
 * @dwork: delayed work
 * @func: function of the work
 *
 * Wraps kthread_init_delayed_work(), which is a macro.
 */
__rust_helper void rust_helper_kthread_init_delayed_work(struct kthread_delayed_work *dwork,
							 kthread_work_func_t func)
{
	kthread_init_delayed_work(dwork, func);
}
