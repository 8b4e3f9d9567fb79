// SPDX-License-Identifier: GPL-2.0

//! The process that is started as mmwatch, and represents the program in job control.
//!
//! A tracer must not be stopped, because its tracees then stop at their next signal or fork. But
//! the shell expects its child to stop when the program does. Therefore mmwatch runs as two
//! processes. The front stops and ends as the program does, and passes signals on. The process
//! behind it traces the program, and writes the report.

use crate::interrupt;
use crate::output::complain;
use crate::process::has_stopped;
use libtracee::wait;
use libtracee::Change;
use libtracee::Wait;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::poll;
use nix::poll::PollFd;
use nix::poll::PollFlags;
use nix::poll::PollTimeout;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::raise;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use nix::unistd::pipe2;
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The argument with which the front starts the process behind it. The next arguments are the
/// number of the pipe in the front, and the signals with which the front was started.
pub const BEHIND: &str = "--behind";

/// The program has stopped, or continues.
const STOPPED: u8 = b'T';
const CONTINUED: u8 = b'C';

/// Number of times at which the front is looked at after the program has continued, and the time
/// between them.
const LOOKS: u32 = 20;
const LOOK: Duration = Duration::from_millis(50);

/// Runs as the front: starts the process behind it with the same arguments, and ends as that
/// process ends.
pub fn run(arguments: &[OsString], has_program: bool) -> io::Result<u8> {
    // The process behind the front inherits this.
    libtracee::report_children();
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    let behind = Command::new("/proc/self/exe")
        .arg0("mmwatch")
        .arg(BEHIND)
        .arg(writer.as_raw_fd().to_string())
        .arg(libtracee::inherited_signals().to_string())
        .args(arguments)
        .spawn()
        .map_err(|error| {
            let what = "mmwatch cannot execute itself (is /proc mounted?)";
            io::Error::new(error.kind(), format!("{what}: {error}"))
        })?;
    let behind = Pid::from_raw(behind.id() as i32);
    // The process behind the front has started with the mask of signals that the program inherits.
    let signals = interrupt::block()?;
    if has_program {
        // ^Z is meant for the program, which may ignore it.
        let stop: SigSet = [Signal::SIGTSTP].into_iter().collect();
        stop.thread_block()?;
    }
    let serve = move || {
        // Keep the pipe open until the process behind the front has opened it.
        let _writer = writer;
        if let Err(error) = serve(&signals, &reader, behind) {
            complain(&format!("signals can no longer be received: {error}"));
        }
    };
    thread::Builder::new().spawn(serve)?;
    match wait(Wait::One(behind))? {
        (_, Change::Killed(signal)) => libtracee::die_of(signal),
        (_, change) => Ok(change.exit_code().unwrap_or_default()),
    }
}

/// Passes signals on, and stops this process when the program has stopped.
fn serve(signals: &nix::sys::signalfd::SignalFd, pipe: &OwnedFd, behind: Pid) -> io::Result<()> {
    let mut pipe = File::from(pipe.try_clone()?);
    loop {
        let mut fds = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(pipe.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let has_news = fds[1].any().unwrap_or_default();
        while let Some(signal) = signals.read_signal()? {
            // The kernel sends signals of the terminal to the process behind as well.
            if signal.ssi_code != interrupt::FROM_KERNEL {
                let _ = libtracee::kill(behind, signal.ssi_signo as i32);
            }
        }
        let mut news = [0; 64];
        let last = match has_news {
            true => pipe.read(&mut news)?.checked_sub(1).map(|last| news[last]),
            false => None,
        };
        if last == Some(STOPPED) {
            raise(Signal::SIGSTOP)?;
        }
    }
}

/// The front, for the process behind it.
pub struct Front {
    pid: Pid,
    pipe: File,
    is_stopped: Arc<AtomicBool>,
}

/// Blocks the signals of job control, which stop the front and not the process behind it. Must
/// follow the start of the program, which inherits the mask.
pub fn block_stops() -> io::Result<()> {
    let stops = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];
    let stops: SigSet = stops.into_iter().collect();
    Ok(stops.thread_block()?)
}

impl Front {
    /// Connects to the front. `pipe` is the number of its pipe, `inherited` is the set of signals
    /// that were ignored when the front was started. From now on, this process is killed when the
    /// front is: the program then continues without mmwatch.
    pub fn connect(pipe: &OsStr, inherited: &OsStr) -> io::Result<Self> {
        let inherited = inherited.to_str().and_then(|text| text.parse().ok());
        libtracee::inherit(inherited.unwrap_or_default());
        let pid = Pid::parent();
        set_pdeathsig(Signal::SIGKILL)?;
        if Pid::parent() != pid {
            return Err(io::Error::other("mmwatch was killed"));
        }
        let path = format!("/proc/{pid}/fd/{}", pipe.to_string_lossy());
        let pipe = OpenOptions::new().write(true).open(path)?;
        Ok(Self {
            pid,
            pipe,
            is_stopped: Arc::default(),
        })
    }

    pub fn is(&self, pid: u32) -> bool {
        self.pid.as_raw() as u32 == pid
    }

    /// Stops the front.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        let _ = (&self.pipe).write(&[STOPPED]);
    }

    /// Continues the front, also if it is only about to stop.
    pub fn go_on(&self) {
        self.is_stopped.store(false, Ordering::Relaxed);
        let _ = (&self.pipe).write(&[CONTINUED]);
        self.wake();
        let (pid, is_stopped) = (self.pid, self.is_stopped.clone());
        let look = move || {
            for _ in 0..LOOKS {
                thread::sleep(LOOK);
                if is_stopped.load(Ordering::Relaxed) {
                    return;
                }
                if has_stopped(pid.as_raw()) {
                    let _ = libtracee::kill(pid, Signal::SIGCONT as i32);
                }
            }
        };
        let _ = thread::Builder::new().spawn(look);
    }

    /// Continues the front if it is stopped.
    pub fn wake(&self) {
        let _ = libtracee::kill(self.pid, Signal::SIGCONT as i32);
    }
}
