// SPDX-License-Identifier: GPL-2.0

//! Access to a process that the current task traces.
//!
//! A module cannot ask the kernel whether a process may inspect another process:
//! `ptrace_may_access()` and `mm_access()` are not exported. A tracer may inspect its tracee: the
//! kernel has checked the permission at attach, and changes since then are tested here.
//!
//! C header: [`include/linux/ptrace.h`](srctree/include/linux/ptrace.h)

use crate::{
    bindings,
    cred::Credential,
    mm::MmWithUser,
    pid::find_task,
    prelude::*,
    sync::aref::ARef,
    task::{
        CurrentTask,
        Pid,
        Task, //
    }, //
};
use core::ptr::NonNull;

/// A stopped process that the current task traces.
///
/// The tracee may continue as soon as the current system call has ended.
///
/// # Context
///
/// Must be dropped where sleeping is allowed, because dropping the last user of an address space
/// may sleep.
pub struct Tracee {
    /// The traced thread.
    pub task: ARef<Task>,
    /// Its address space.
    pub mm: ARef<MmWithUser>,
}

impl Tracee {
    /// Returns the permission to inspect the process, which can be tested again after the process
    /// has executed another program.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn permission(&self) -> Permission {
        // SAFETY: `get_task_cred()` requires a valid task, which `self` holds a reference to. It
        // does not return null, and has taken a reference, which is passed to the `ARef`.
        // `Credential` is a transparent wrapper of `struct cred`.
        Permission(unsafe {
            ARef::from_raw(NonNull::new_unchecked(
                bindings::get_task_cred(self.task.as_ptr())
                    .cast_mut()
                    .cast(),
            ))
        })
    }
}

/// The permission to inspect a process, as long as its credentials are those recorded here.
///
/// A tracer may inspect its tracee until the tracee executes a program with other credentials. The
/// kernel tests this for tracers. A driver that is called in the context of the inspected process
/// must test it itself.
pub struct Permission(ARef<Credential>);

impl Permission {
    /// Returns whether the permission still holds for the current task. It holds if, since it was
    /// recorded, the task has executed no program that has other credentials, another security
    /// label or more capabilities, or that only root may inspect.
    ///
    /// This is stricter than `ptrace_may_access()`. If a task has only dropped capabilities, the
    /// permission holds. If it has changed its user, the permission does not hold, even if the
    /// tracer is privileged.
    ///
    /// # Context
    ///
    /// Any context. In an interrupt, the result is about the interrupted task.
    pub fn still_holds(&self, _task: &CurrentTask) -> bool {
        // SAFETY: `tether_as_permitted_as()` requires valid credentials. The `ARef` keeps them
        // valid.
        unsafe { bindings::tether_as_permitted_as(self.0.as_ptr()) }
    }
}

/// Returns whether the user of the current task may inspect its program (`ptrace(2)` calls this
/// dumpable). A program can change this with `prctl(PR_SET_DUMPABLE)` at any time.
///
/// # Context
///
/// Any context. In an interrupt, the result is about the interrupted task.
pub fn is_dumpable(_task: &CurrentTask) -> bool {
    // SAFETY: `tether_current_is_dumpable()` has no requirements; it reads the state of the current
    // task.
    unsafe { bindings::tether_current_is_dumpable() }
}

/// Finds the process `pid`, in the pid namespace of the current task, if the current task traces it
/// and it is stopped.
///
/// # Context
///
/// Process context, may sleep. In an interrupt, the process is not found.
///
/// # Errors
///
/// * [`ESRCH`] if there is no such process;
/// * [`EPERM`] if the current task is not its tracer, if it is not stopped, or if it executes a
///   program that only root may inspect (`ptrace(2)` calls this not dumpable) and the current task
///   lacks `CAP_SYS_PTRACE`;
/// * [`EINVAL`] if it has no address space.
pub fn tracee(pid: Pid) -> Result<Tracee> {
    let task = find_task(pid).ok_or(ESRCH)?;

    // SAFETY: `tether_stopped_tracee()` requires a valid task. The `ARef` keeps it valid.
    if !unsafe { bindings::tether_stopped_tracee(task.as_ptr()) } {
        return Err(EPERM);
    }
    // The tracee is stopped until the current task, its tracer, lets it continue, so that it cannot
    // execute another program between these tests. If it is killed meanwhile, its address space is
    // still valid.
    //
    // SAFETY: `tether_may_inspect()` requires a valid task. The `ARef` keeps it valid.
    if !unsafe { bindings::tether_may_inspect(task.as_ptr()) } {
        return Err(EPERM);
    }
    // SAFETY: `get_task_mm()` requires a valid task. The `ARef` keeps it valid.
    let mm = NonNull::new(unsafe { bindings::get_task_mm(task.as_ptr()) }).ok_or(EINVAL)?;
    // SAFETY: `from_raw()` requires a reference to the users of the address space that is ours.
    // `get_task_mm()` has taken it for its caller. `MmWithUser` is a transparent wrapper of `struct
    // mm_struct`.
    let mm = unsafe { ARef::from_raw(mm.cast()) };
    Ok(Tracee { task, mm })
}
