// SPDX-License-Identifier: GPL-2.0

//! Walks over tasks, and over the works in the list of a task.
//!
//! C headers: [`include/linux/sched/signal.h`](srctree/include/linux/sched/signal.h),
//! [`include/linux/task_work.h`](srctree/include/linux/task_work.h)

use crate::{
    bindings,
    prelude::*,
    task::{
        Pid,
        Task, //
    },
    tether::raw_lock::RawHeld, //
};
use core::{
    ops::ControlFlow,
    ptr, //
};

/// Calls the closure `data` with a task. Returns 1 if the walk ends.
///
/// # Safety
///
/// `data` must point to an `F` that is not otherwise used during the call, and `task` to a task
/// that is valid during the call.
unsafe extern "C" fn call<F>(task: *mut bindings::task_struct, data: *mut c_void) -> c_int
where
    F: FnMut(&Task) -> ControlFlow<()>,
{
    // SAFETY: By the function's contract `data` points to an `F` that is not otherwise used.
    let f = unsafe { &mut *data.cast::<F>() };
    // SAFETY: By the function's contract the task is valid during the call. `Task` is a transparent
    // wrapper of `task_struct`.
    c_int::from(f(unsafe { &*task.cast::<Task>() }).is_break())
}

/// Calls `f` for each thread of all processes, until `f` returns [`ControlFlow::Break`]. Kernel
/// threads are included.
///
/// `f` is called in an RCU read-side critical section.
fn for_each_task<F>(mut f: F)
where
    F: FnMut(&Task) -> ControlFlow<()>,
{
    // SAFETY: `call::<F>` requires a pointer to an `F`, which is `f` and outlives the call, and a
    // task that is valid during the call: the helper is in an RCU read-side critical section.
    unsafe { bindings::tether_walk_tasks(Some(call::<F>), ptr::from_mut(&mut f).cast()) };
}

/// Calls `f` for each thread of the process of `thread`, until `f` returns [`ControlFlow::Break`].
///
/// `f` is called in an RCU read-side critical section.
pub(super) fn for_each_thread<F>(thread: &Task, mut f: F)
where
    F: FnMut(&Task) -> ControlFlow<()>,
{
    // SAFETY: The helper requires a valid task, which `thread` is. `call::<F>` requires a pointer
    // to an `F`, which is `f` and outlives the call, and a task that is valid during the call: the
    // helper is in an RCU read-side critical section.
    unsafe {
        bindings::tether_walk_threads(
            thread.as_ptr(),
            Some(call::<F>),
            ptr::from_mut(&mut f).cast(),
        )
    };
}

/// Returns the pid of the task at an address in the initial namespace, or [`None`] if there is no
/// such task. The address is compared and not dereferenced.
///
/// The memory of a task may belong to another task by now. `started` is the `start_boottime` of the
/// task, which tells these apart, or 0 for any task.
pub(super) fn pid_of(address: usize, started: u64) -> Option<Pid> {
    let mut pid = None;
    for_each_task(|task| {
        // SAFETY: The task is valid, because it comes from a reference. The field is set before the
        // task is added to the lists of tasks, and does not change afterwards.
        let is_same = || unsafe { (*task.as_ptr()).start_boottime } == started;
        if task.as_ptr() as usize != address || (started != 0 && !is_same()) {
            return ControlFlow::Continue(());
        }
        pid = Some(task.pid());
        ControlFlow::Break(())
    });
    pid
}

/// Calls `seen` for each work in the list of `task`, with its `pi_lock` held. `seen` must not wake
/// the task.
///
/// `task_work_run()` takes the whole list off the task, then acquires and releases `pi_lock`, and
/// only then runs the works. While `pi_lock` is held here, a work in the list is neither run nor
/// freed. The node that marks a list as sealed (`work_exited`) has no function, and is passed to
/// `seen` as well.
///
/// # Context
///
/// Any context but NMI. The caller must not hold a `pi_lock`.
pub(super) fn for_each_work_of(task: &Task, mut seen: impl FnMut(&bindings::callback_head)) {
    let task = task.as_ptr();
    // SAFETY: `acquire()` requires an initialised lock that stays valid. The lock is a field of a
    // valid task, which is borrowed until this returns.
    let _held = unsafe { RawHeld::acquire(&raw mut (*task).pi_lock) };
    // SAFETY: `task` is valid. Other tasks change the field by atomic operations of its size.
    let mut next = unsafe { ptr::read_volatile(&raw const (*task).task_works) };
    // SAFETY: A work in the list is valid until it is run, which `pi_lock` prevents.
    while let Some(work) = unsafe { next.as_ref() } {
        seen(work);
        // SAFETY: `work` is valid. Other tasks change the field by stores of its size.
        next = unsafe { ptr::read_volatile(&raw const work.next) };
    }
}

/// Calls `seen` for each work in the lists of all tasks, with the address of the task. See
/// [`for_each_work_of`].
pub(super) fn for_each_work(mut seen: impl FnMut(usize, &bindings::callback_head)) {
    for_each_task(|task| {
        for_each_work_of(task, |work| seen(task.as_ptr() as usize, work));
        ControlFlow::Continue(())
    });
}
