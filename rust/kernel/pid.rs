// SPDX-License-Identifier: GPL-2.0

//! Finding tasks by pid, and comparing processes.
//!
//! C header: [`include/linux/pid.h`](srctree/include/linux/pid.h)

use crate::{
    bindings,
    pid_namespace::PidNamespace,
    sync::{
        aref::ARef,
        rcu, //
    },
    task::{
        Pid,
        Task, //
    },
    tether::{
        in_task,
        is_kernel_thread, //
    }, //
};

/// Finds the user thread with the number `pid` in the pid namespace of the current task.
///
/// When this returns, the thread may have exited, and its number may belong to another thread.
///
/// Kernel threads are not found: [`Task::wake_up`] can be called on any task, and a kernel thread
/// that has not been started treats any wake-up as its first.
///
/// # Context
///
/// Any context. Outside of process context, the result is always [`None`]: the number would be
/// looked up in the namespace of the interrupted task, which may have released its namespace.
///
/// # Examples
///
/// ```
/// use kernel::{
///     pid,
///     prelude::*, //
/// };
///
/// // In the initial pid namespace, 1 is init, and 2 is kthreadd.
/// assert!(pid::find_task(1).is_some());
/// assert!(pid::find_task(2).is_none());
/// assert!(pid::find_task(-1).is_none());
/// ```
#[doc(alias = "find_get_task_by_vpid")]
pub fn find_task(pid: Pid) -> Option<ARef<Task>> {
    if !in_task() {
        return None;
    }
    let _rcu = rcu::read_lock();
    // SAFETY: `task_active_pid_ns()` requires a valid task, which the current task is.
    let namespace = unsafe { bindings::task_active_pid_ns(Task::current_raw()) };
    // The current task has no namespace after it has passed `exit_notify()`.
    if namespace.is_null() {
        return None;
    }
    // SAFETY: `find_pid_ns()` requires a valid namespace and an RCU read-side critical section.
    // Only the current task itself drops its number, and with it the namespace.
    let number = unsafe { bindings::find_pid_ns(pid, namespace) };
    // SAFETY: `pid_task()` requires an RCU read-side critical section, and a number that is null or
    // was found in this section.
    let task = unsafe { bindings::pid_task(number, bindings::pid_type_PIDTYPE_PID) };
    // SAFETY: `task` is null or points to a task, which is valid until the RCU read-side critical
    // section ends. `Task` is a transparent wrapper of `struct task_struct`.
    let task = unsafe { task.cast::<Task>().as_ref() }?;
    (!is_kernel_thread(task)).then(|| ARef::from(task))
}

/// Returns whether two tasks are threads of one process.
///
/// Numbers must not be compared instead: the number of a process that has exited is reused.
///
/// # Context
///
/// Any context.
///
/// # Examples
///
/// ```
/// use kernel::{
///     pid,
///     prelude::*, //
/// };
///
/// let init = pid::find_task(1).ok_or(ESRCH)?;
/// assert!(pid::same_thread_group(&init, &init));
/// assert!(!pid::same_thread_group(&init, current!()));
/// # Ok::<(), Error>(())
/// ```
#[inline]
pub fn same_thread_group(first: &Task, second: &Task) -> bool {
    // SAFETY: `same_thread_group()` requires two valid tasks, and compares their `signal`. Both are
    // borrowed. A task keeps its `signal` until it is freed, so that the address is not reused.
    unsafe { bindings::same_thread_group(first.as_ptr(), second.as_ptr()) }
}

/// A pid namespace in which tasks are numbered for a reader.
pub struct Numbering {
    /// `None` for the initial namespace: the kernel itself uses the numbers of that namespace.
    namespace: Option<ARef<PidNamespace>>,
}

impl Numbering {
    /// Returns the namespace in which the current task sees other tasks.
    ///
    /// # Context
    ///
    /// Process context. In an interrupt, the result is the initial namespace.
    pub fn of_current() -> Self {
        if !in_task() {
            return Self { namespace: None };
        }
        let namespace = crate::current!().active_pid_ns().map(ARef::from);
        // SAFETY: `tether_is_initial_pid_ns()` requires a valid namespace. The `ARef` keeps it
        // valid.
        let is_initial =
            |it: &ARef<PidNamespace>| unsafe { bindings::tether_is_initial_pid_ns(it.as_ptr()) };
        Self {
            namespace: namespace.filter(|it| !is_initial(it)),
        }
    }

    /// Returns the numbers of a thread and of its process, or 0 if the thread is not in the
    /// namespace.
    ///
    /// In the initial namespace, a task that has exited keeps its numbers. In other namespaces, its
    /// numbers are 0.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn numbers(&self, task: &Task) -> (Pid, Pid) {
        match &self.namespace {
            None => (task.pid(), task.tgid()),
            Some(namespace) => (
                // SAFETY: `tether_pid_in()` requires a valid task and a valid namespace. Both are
                // kept valid by references.
                unsafe { bindings::tether_pid_in(task.as_ptr(), namespace.as_ptr()) },
                task.tgid_nr_ns(Some(namespace)),
            ),
        }
    }
}
