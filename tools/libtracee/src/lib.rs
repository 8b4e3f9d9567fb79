// SPDX-License-Identifier: GPL-2.0

//! Waits for traced processes and resumes them, for all signals.
//!
//! The wrappers of nix represent a signal by an enum without real-time signals. Its `waitpid()`
//! therefore fails after the kernel has reported a stop, and the tracee is never resumed. Here, a
//! signal is a number.

use nix::errno::Errno;
use nix::libc;
use nix::unistd::Pid;
use std::io;
use std::ptr;

/// The events of `ptrace(2)`, as in [`Stop::event`].
pub mod event {
    use nix::libc;

    /// The tracee has stopped for a signal, which its tracer may deliver.
    pub const SIGNAL: i32 = 0;
    pub const FORK: i32 = libc::PTRACE_EVENT_FORK;
    pub const VFORK: i32 = libc::PTRACE_EVENT_VFORK;
    pub const CLONE: i32 = libc::PTRACE_EVENT_CLONE;
    pub const EXEC: i32 = libc::PTRACE_EVENT_EXEC;
    pub const EXIT: i32 = libc::PTRACE_EVENT_EXIT;
    /// The first stop of a new tracee, a stop requested by the tracer, a group stop, or its end.
    pub const STOP: i32 = libc::PTRACE_EVENT_STOP;
}

/// The reason for which a tracee has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The signal to deliver, the signal that has stopped the process, or SIGTRAP.
    pub signal: i32,
    /// One of [`event`].
    pub event: i32,
}

impl Stop {
    /// Returns whether job control has stopped the whole process, until a SIGCONT.
    pub fn is_of_group(self) -> bool {
        self.event == event::STOP && self.signal != libc::SIGTRAP
    }

    /// Returns the signal that the tracee receives when it is resumed, or 0.
    pub fn pending_signal(self) -> i32 {
        if self.event == event::SIGNAL {
            self.signal
        } else {
            0
        }
    }
}

/// A change of state of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Stopped(Stop),
    Exited(u8),
    /// Killed by a signal.
    Killed(i32),
    Continued,
}

impl Change {
    /// Decodes a status of `waitpid(2)`.
    fn from_raw(status: i32) -> Self {
        if libc::WIFEXITED(status) {
            Self::Exited(libc::WEXITSTATUS(status) as u8)
        } else if libc::WIFSIGNALED(status) {
            Self::Killed(libc::WTERMSIG(status))
        } else if libc::WIFSTOPPED(status) {
            Self::Stopped(Stop {
                signal: libc::WSTOPSIG(status),
                event: status >> 16,
            })
        } else {
            Self::Continued
        }
    }

    /// Returns the exit code by which a shell reports the end of a process.
    pub fn exit_code(self) -> Option<u8> {
        match self {
            Self::Exited(code) => Some(code),
            Self::Killed(signal) => Some(128 + signal as u8),
            Self::Stopped(_) | Self::Continued => None,
        }
    }
}

/// The processes to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// All children and tracees.
    All,
    /// All children and tracees. Stops and continuations by job control are reported for children
    /// that are not traced.
    AllUntraced,
    /// One child or tracee.
    One(Pid),
    /// One child. Stops by job control are reported although the child is not traced.
    Untraced(Pid),
}

/// Waits for a change of state of a child or a tracee. Repeats the wait if a signal handler has
/// interrupted it.
///
/// # Errors
///
/// ECHILD if there is no such child or tracee.
pub fn wait(which: Wait) -> Result<(Pid, Change), Errno> {
    let (pid, options) = match which {
        Wait::All => (-1, libc::__WALL),
        Wait::AllUntraced => (-1, libc::__WALL | libc::WUNTRACED | libc::WCONTINUED),
        Wait::One(pid) => (pid.as_raw(), libc::__WALL),
        Wait::Untraced(pid) => (pid.as_raw(), libc::__WALL | libc::WUNTRACED),
    };
    loop {
        let mut status = 0;
        // SAFETY: waitpid() writes one `c_int`, to which the exclusive reference refers. The kernel
        // does not keep the pointer.
        let result = unsafe { libc::waitpid(pid, &mut status, options) };
        match Errno::result(result) {
            Ok(pid) => return Ok((Pid::from_raw(pid), Change::from_raw(status))),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Makes a ptrace request that takes a number and no pointer.
fn request(request: libc::c_uint, pid: Pid, number: i32) -> Result<(), Errno> {
    // SAFETY: The requests of this module do not access memory of this process: the address is
    // ignored, and the data is a number.
    let result = unsafe {
        libc::ptrace(
            request,
            pid.as_raw(),
            ptr::null_mut::<libc::c_void>(),
            number as libc::c_long,
        )
    };
    Errno::result(result).map(drop)
}

/// Resumes a stopped tracee. Delivers the signal, unless it is 0.
///
/// # Errors
///
/// ESRCH if the tracee is not stopped; it may have been killed.
pub fn resume(pid: Pid, signal: i32) -> Result<(), Errno> {
    request(libc::PTRACE_CONT, pid, signal)
}

/// Leaves a tracee in its group stop until a SIGCONT, which [`wait`] then reports as a stop.
///
/// # Errors
///
/// ESRCH as in [`resume`]; EIO if this is not a group stop.
pub fn listen(pid: Pid) -> Result<(), Errno> {
    request(libc::PTRACE_LISTEN, pid, 0)
}

/// Ends the tracing of a stopped tracee. Delivers the signal, unless it is 0. A process in a group
/// stop stays stopped.
///
/// # Errors
///
/// As [`resume`].
pub fn detach(pid: Pid, signal: i32) -> Result<(), Errno> {
    request(libc::PTRACE_DETACH, pid, signal)
}

/// Sends any signal to a process; see `kill(2)`.
pub fn kill(pid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: kill() takes no pointers.
    Errno::result(unsafe { libc::kill(pid.as_raw(), signal) })?;
    Ok(())
}

/// Ends this process by a signal, without a core dump. If the signal does not end it, exits as a
/// shell reports that signal.
pub fn die_of(signal: i32) -> ! {
    inherited::action(signal, Some(libc::SIG_DFL));
    // SAFETY: These calls take numbers, and sets and limits that live until the calls return.
    unsafe {
        let no_core = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        libc::setrlimit(libc::RLIMIT_CORE, &no_core);
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, ptr::null_mut());
        // A signal to the process could be delivered to another thread, after the exit below.
        libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), signal);
    }
    std::process::exit(128 + signal)
}

mod inherited;

pub use inherited::inherit;
pub use inherited::inherited_signals;
pub use inherited::report_children;
pub use inherited::restore_signals;

#[cfg(test)]
mod tests;
