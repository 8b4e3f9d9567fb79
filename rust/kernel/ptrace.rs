// SPDX-License-Identifier: GPL-2.0

//! Access to a process that one traces.
//!
//! A module cannot ask the kernel whether a process may look into another one
//! (`ptrace_may_access()` and `mm_access()` are not exported). Whom a process traces it may look
//! into: attaching was allowed then, and what has changed since is tested here.
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

/// A process that the current one traces, and that is stopped.
///
/// It may go on as soon as the current system call has ended.
pub struct Tracee {
    /// The traced thread.
    pub task: ARef<Task>,
    /// Its address space.
    pub mm: ARef<MmWithUser>,
}

impl Tracee {
    /// What one could be held to, if the process is to be looked into after it has executed another program.
    pub fn permission(&self) -> Permission {
        // SAFETY: The task is valid. `get_task_cred` has taken a reference, which is ours.
        // `Credential` is transparent.
        Permission(unsafe {
            ARef::from_raw(NonNull::new_unchecked(
                bindings::get_task_cred(self.task.as_ptr())
                    .cast_mut()
                    .cast(),
            ))
        })
    }
}

/// That somebody could look into a process, when it had these credentials.
///
/// Whom one traces one may look into, until it executes a program that has other credentials. The kernel
/// looks to that where it traces; who only watches, and is told by the process itself, has to do so.
pub struct Permission(ARef<Credential>);

impl Permission {
    /// Whether it still holds for the current task: it has not executed a program that has given it other
    /// credentials, another security label or more capabilities, or that only root may look into.
    ///
    /// Stricter than `ptrace_may_access()`: a task that has given up capabilities is all right, but
    /// none that has changed its user, whoever it was that looks.
    pub fn still_holds(&self, _task: &CurrentTask) -> bool {
        // SAFETY: The credentials are valid.
        unsafe { bindings::tether_as_permitted_as(self.0.as_ptr()) }
    }
}

/// Finds the process `pid`, as the current process sees pids, if the current task traces it and it
/// is stopped. May sleep.
///
/// # Errors
///
/// * [`ESRCH`] if there is no such process;
/// * [`EPERM`] if the current task is not its tracer, if it is not stopped, or if it executes a
///   program that only root may look into (`ptrace(2)` calls this not dumpable) and the current
///   task lacks `CAP_SYS_PTRACE`;
/// * [`EINVAL`] if it has no address space.
pub fn tracee(pid: Pid) -> Result<Tracee> {
    let task = find_task(pid).ok_or(ESRCH)?;

    // SAFETY: The task is valid.
    if !unsafe { bindings::tether_stopped_tracee(task.as_ptr()) } {
        return Err(EPERM);
    }
    // The tracee stays stopped while its tracer, which is here, does not let it go on; it cannot
    // execute another program between these. If it is killed meanwhile, what is found is only
    // still there.
    //
    // SAFETY: The task is valid.
    if !unsafe { bindings::tether_may_inspect(task.as_ptr()) } {
        return Err(EPERM);
    }
    // SAFETY: The task is valid.
    let mm = NonNull::new(unsafe { bindings::get_task_mm(task.as_ptr()) }).ok_or(EINVAL)?;
    // SAFETY: `get_task_mm` has taken a reference to the users of the mm, which is ours.
    // `MmWithUser` is transparent.
    let mm = unsafe { ARef::from_raw(mm.cast()) };
    Ok(Tracee { task, mm })
}
