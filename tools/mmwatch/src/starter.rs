// SPDX-License-Identifier: GPL-2.0

//! Starts a program that can be traced from its first instruction: mmwatch executes itself in a new
//! process, which stops itself, is traced from then on, and becomes the program.

use crate::output::complain;
use libtracee::event;
use libtracee::wait;
use libtracee::Change;
use libtracee::Wait;
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::ptrace::Options;
use nix::sys::signal::kill;
use nix::sys::signal::raise;
use nix::sys::signal::Signal;
use nix::unistd::execvp;
use nix::unistd::Pid;
use std::ffi::CString;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

/// The argument with which mmwatch starts itself, in the process that becomes the program.
pub const START: &str = "--start-stopped";

/// Runs in the process that becomes the program: stops until the tracer has attached. The first
/// word is the set of signals that the program ignores.
pub fn become_program(words: &[OsString]) -> ! {
    let (signals, program) = (&words[0], &words[1..]);
    let error = match raise(Signal::SIGSTOP) {
        Ok(()) => execute(signals, program),
        Err(errno) => errno,
    };
    let name = Path::new(&program[0]).display();
    complain(&format!("{name}: {}", io::Error::from(error)));
    std::process::exit(if error == Errno::ENOENT { 127 } else { 126 })
}

/// Executes a program. Returns only if this fails.
fn execute(signals: &OsStr, program: &[OsString]) -> Errno {
    let words: Result<Vec<CString>, _> = program
        .iter()
        .map(|word| CString::new(word.as_bytes()))
        .collect();
    let Ok(words) = words else {
        return Errno::EINVAL;
    };
    let signals = signals.to_str().and_then(|text| text.parse().ok());
    libtracee::restore_signals(signals.unwrap_or_default());
    match execvp(&words[0], &words) {
        Ok(never) => match never {},
        Err(errno) => {
            // For the error message.
            libtracee::restore_signals(1 << (Signal::SIGPIPE as i32 - 1));
            errno
        }
    }
}

/// Kills a process that was started and has not become the program.
fn abandon(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Starts the process that becomes the program, and attaches to it. It stays stopped.
pub fn start(
    program: &[OsString],
    input: Stdio,
    out: Stdio,
    error: Stdio,
    options: Options,
) -> io::Result<Child> {
    let mut child = Command::new("/proc/self/exe")
        .arg0("mmwatch")
        .arg(START)
        .arg(libtracee::inherited_signals().to_string())
        .args(program)
        .stdin(input)
        .stdout(out)
        .stderr(error)
        .spawn()
        .map_err(|error| explain("mmwatch cannot execute itself (is /proc mounted?)", error))?;
    let pid = Pid::from_raw(child.id() as i32);
    // The child is not traced yet, so this is an ordinary job-control stop.
    let traced = match wait(Wait::Untraced(pid)) {
        Ok((_, Change::Stopped(_))) => ptrace::seize(pid, options).map_err(|errno| {
            explain(
                "the program cannot be traced (is it forbidden by a container or a security module?)",
                errno,
            )
        }),
        Ok((_, change)) => Err(io::Error::other(format!(
            "the program was not started: {change:?}"
        ))),
        Err(errno) => Err(errno.into()),
    };
    match traced {
        Ok(()) => Ok(child),
        Err(error) => {
            abandon(&mut child);
            Err(error)
        }
    }
}

fn explain(what: &str, error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Continues a process that was started.
pub fn release(child: &Child) -> io::Result<()> {
    Ok(kill(Pid::from_raw(child.id() as i32), Signal::SIGCONT)?)
}

/// Runs a program to its end without watching it. Returns the time from its exec to its end, or its
/// exit code if it was not executed.
pub fn run_unwatched(program: &[OsString], input: Stdio) -> io::Result<Result<Duration, u8>> {
    let child = start(
        program,
        input,
        Stdio::inherit(),
        Stdio::inherit(),
        Options::PTRACE_O_TRACEEXEC,
    )?;
    release(&child)?;
    let pid = Pid::from_raw(child.id() as i32);
    let mut begun = None;
    loop {
        let (_, change) = wait(Wait::One(pid))?;
        let result = match change {
            Change::Stopped(stop) if stop.event == event::EXEC => {
                begun = Some(Instant::now());
                libtracee::detach(pid, 0)
            }
            Change::Stopped(stop) if stop.is_of_group() => libtracee::listen(pid),
            Change::Stopped(stop) => libtracee::resume(pid, stop.pending_signal()),
            Change::Exited(_) | Change::Killed(_) => {
                let code = change.exit_code().unwrap_or_default();
                return Ok(begun.map(|begun| begun.elapsed()).ok_or(code));
            }
            Change::Continued => Ok(()),
        };
        match result {
            // The process was killed.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Returns the standard input of a program that is run before the actual run, which must find its
/// input unread.
pub fn input_of_first_run() -> io::Result<Stdio> {
    use std::fs::File;
    use std::io::Seek;
    use std::io::SeekFrom;
    use std::os::fd::AsFd;
    let Ok(own) = io::stdin().as_fd().try_clone_to_owned() else {
        // It is closed.
        return Ok(Stdio::inherit());
    };
    let mut own = File::from(own);
    let kind = own.metadata()?.file_type();
    if kind.is_file() {
        // Opened once more, the file has a position of its own.
        let mut other = File::open("/proc/self/fd/0")?;
        other.seek(SeekFrom::Start(own.stream_position()?))?;
        return Ok(other.into());
    }
    use std::os::unix::fs::FileTypeExt;
    if kind.is_char_device() {
        return Ok(Stdio::inherit());
    }
    Err(io::Error::other(
        "--compare runs the program several times, but its standard input can be read only once: \
         redirect it from a file or from /dev/null",
    ))
}
