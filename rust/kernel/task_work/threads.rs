// SPDX-License-Identifier: GPL-2.0

//! Running a closure in each thread of a process.

use super::{
    add_fn,
    closure::PendingHead,
    state::{
        self,
        WaitLimit, //
    },
    tasks::for_each_thread,
    Context,
    NotifyMode, //
};
use crate::{
    bindings,
    prelude::*,
    rbtree::RBTree,
    sync::{
        aref::ARef,
        Arc, //
    },
    task::Task,
    tether::{
        as_jiffies,
        may_sleep,
        task_flags, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};
use core::{
    ops::ControlFlow,
    ptr, //
};

/// Calls `func` in each thread of a process, and waits until all threads have called it.
///
/// `thread` is any thread of the process. Threads that are created meanwhile are included. The
/// current task is not, because it cannot wait for itself. A thread that exits meanwhile may call
/// `func` in its exit ([`Context::is_exiting`]), or not at all.
///
/// Returns the number of threads that have called `func`.
///
/// `func` interrupts system calls of the threads as [`NotifyMode::Signal`] does. A task takes no
/// works while it waits here. If two threads of a process call this function for their own process
/// at the same time, they wait for each other until `time` has passed: let one of them call it at a
/// time.
///
/// ```
/// use kernel::{
///     prelude::*,
///     sync::Arc,
///     task::Task,
///     task_work,
///     time::Delta, //
/// };
///
/// /// Lets each thread of the current process enter the kernel once.
/// fn pass_all() -> Result<usize> {
///     let nothing = Arc::new(|_: &task_work::Context<'_>| (), GFP_KERNEL)?;
///     task_work::in_each_thread(current!(), &nothing, Delta::from_secs(5))
/// }
/// # let _ = pass_all;
/// # Ok::<(), Error>(())
/// ```
///
/// # Context
///
/// Process context. Sleeps, killably. The caller must hold no lock that a thread of the process may
/// need before it returns to user space.
///
/// # Errors
///
/// If this fails, the threads that have not called `func` yet do not call it any more.
///
/// * [`ETIMEDOUT`] if `time` has passed: a thread is stopped or sleeps uninterruptibly, or the
///   process creates threads all the time;
/// * [`EINTR`] if the current task is being killed;
/// * [`ENOMEM`] if there is not enough memory;
/// * [`EDEADLK`] if the current task must not sleep; and in the exit of a task, and in a kernel
///   thread that Tether has not created, if `time` is more than a minute;
/// * [`EINVAL`] if `thread` is a kernel thread, or the module of `func` is not known to Tether;
/// * [`ENODEV`] if the module of `func` is being unloaded;
/// * [`EAGAIN`] as for [`add_fn`].
pub fn in_each_thread<F>(thread: &Task, func: &Arc<F>, time: Delta) -> Result<usize>
where
    F: Fn(&Context<'_>) + Send + Sync + 'static,
{
    each_thread(thread, time, &mut |thread| {
        let func = func.clone();
        let pending = add_fn(
            thread,
            move |context: &Context<'_>| func(context),
            NotifyMode::Signal,
            GFP_KERNEL,
        );
        Ok(pending?.into())
    })
}

/// The closures of one pass. Those that have not begun to run are cancelled by the drop.
struct Pass(KVVec<PendingHead>);

impl Drop for Pass {
    fn drop(&mut self) {
        for pending in &self.0 {
            pending.cancel();
        }
    }
}

/// Non-generic part of [`in_each_thread`]: `add` adds the closure to a thread.
fn each_thread(
    thread: &Task,
    time: Delta,
    add: &mut dyn FnMut(&Task) -> Result<PendingHead>,
) -> Result<usize> {
    if !may_sleep() {
        return Err(EDEADLK);
    }
    let time = time.max(Delta::ZERO);
    let begun = Instant::<Monotonic>::now();
    // The threads that were requested, by their address and their start time: a new thread may have
    // the address of one that has exited. References would keep the memory of all of them.
    let mut requested = RBTree::new();
    let mut called = 0;
    loop {
        let threads = threads_of(thread)?;
        let mut pass = Pass(KVVec::with_capacity(threads.len(), GFP_KERNEL)?);
        for thread in threads {
            // SAFETY: The reference keeps the task valid. `start_boottime` does not change after
            // the task was created.
            let started = unsafe { (*thread.as_ptr()).start_boottime };
            let key = (thread.as_ptr() as usize, started);
            if ptr::eq(thread.as_ptr(), Task::current_raw()) || requested.get(&key).is_some() {
                continue;
            }
            match add(&thread) {
                Ok(pending) => pass.0.push(pending, GFP_KERNEL)?,
                // It has begun to exit.
                Err(error) if error == ESRCH => {}
                Err(error) => return Err(error),
            }
            requested.try_create_and_insert(key, (), GFP_KERNEL)?;
        }
        if pass.0.is_empty() {
            return Ok(called);
        }
        for pending in &pass.0 {
            let left = (time - begun.elapsed()).max(Delta::ZERO);
            pending
                .node()
                .state
                .wait(WaitLimit::kill(as_jiffies(left)))?;
            // Teardown of the module has dropped the closure.
            if pending.node().state.load().state() == state::ORPHAN {
                return Err(ENODEV);
            }
            called += 1;
        }
    }
}

/// Returns the threads of the process of `thread`, without those that have begun to exit.
fn threads_of(thread: &Task) -> Result<KVVec<ARef<Task>>> {
    let mut capacity = 16;
    loop {
        let mut threads = KVVec::with_capacity(capacity, GFP_KERNEL)?;
        let mut count = 0;
        for_each_thread(thread, |task| {
            if task_flags(task) & bindings::PF_EXITING == 0 {
                count += 1;
                if count <= capacity {
                    // There is space for `capacity` threads.
                    let _ = threads.push_within_capacity(ARef::from(task));
                }
            }
            ControlFlow::Continue(())
        });
        if count <= capacity {
            return Ok(threads);
        }
        // Some more may be created meanwhile.
        capacity = count + 16;
    }
}
