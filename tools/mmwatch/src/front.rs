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
use nix::libc::O_NONBLOCK;
use nix::poll::poll;
use nix::poll::PollFd;
use nix::poll::PollFlags;
use nix::poll::PollTimeout;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::raise;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::unistd::pipe2;
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The argument with which the front starts the process behind it. The next arguments are the
/// numbers of two pipes in the front, and the signals with which the front was started.
///
/// Signals are passed on through a pipe. Sent as signals, they could not be distinguished from
/// those that a sender sends to the process group.
pub const BEHIND: &str = "--behind";

/// The program has stopped, or continues.
const STOPPED: u8 = b'T';
const CONTINUED: u8 = b'C';

/// Flag of a signal that the kernel has sent, for instance for a key of the terminal. All processes
/// in the foreground have received it.
pub const OF_TERMINAL: u8 = 0x80;
/// Code of such a signal.
const FROM_KERNEL: i32 = 0x80;

/// Number of times at which the front is looked at after the program has continued, and the time
/// between them.
const LOOKS: u32 = 20;
const LOOK: Duration = Duration::from_millis(50);

/// Runs as the front: starts the process behind it with the same arguments, and ends as that
/// process ends.
pub fn run(arguments: &[OsString], has_program: bool) -> io::Result<u8> {
    // The process behind the front inherits this.
    libtracee::report_children();
    let (news, news_of_behind) = pipe2(OFlag::O_CLOEXEC)?;
    let (signals_of_behind, signals) = pipe2(OFlag::O_CLOEXEC)?;
    let behind = Command::new("/proc/self/exe")
        .arg0("mmwatch")
        .arg(BEHIND)
        .arg(news_of_behind.as_raw_fd().to_string())
        .arg(signals_of_behind.as_raw_fd().to_string())
        .arg(libtracee::inherited_signals().to_string())
        .args(arguments)
        .spawn()
        .map_err(|error| {
            let what = "mmwatch cannot execute itself (is /proc mounted?)";
            io::Error::new(error.kind(), format!("{what}: {error}"))
        })?;
    let behind = Pid::from_raw(behind.id() as i32);
    // The process behind the front has started with the mask of signals that the program inherits.
    let received = interrupt::receive()?;
    if has_program {
        // ^Z is meant for the program, which may ignore it.
        let stop: SigSet = [Signal::SIGTSTP].into_iter().collect();
        stop.thread_block()?;
    }
    let serve = move || {
        // The process behind the front opens these ends of the pipes by their numbers.
        let _open = (news_of_behind, signals_of_behind);
        if let Err(error) = serve(&received, signals.into(), news.into()) {
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
fn serve(received: &SignalFd, mut signals: File, mut news: File) -> io::Result<()> {
    loop {
        let mut fds = [
            PollFd::new(received.as_fd(), PollFlags::POLLIN),
            PollFd::new(news.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let has_news = fds[1].any().unwrap_or_default();
        while let Some(signal) = received.read_signal()? {
            let is_of_terminal = signal.ssi_code == FROM_KERNEL;
            let flag = if is_of_terminal { OF_TERMINAL } else { 0 };
            signals.write_all(&[signal.ssi_signo as u8 | flag])?;
        }
        let mut bytes = [0; 64];
        let last = match has_news {
            true => news
                .read(&mut bytes)?
                .checked_sub(1)
                .map(|last| bytes[last]),
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
    news: File,
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
    /// Connects to the front, with the arguments that follow [`BEHIND`]. Returns the pipe with the
    /// signals. From now on, this process is killed when the front is: the program then continues
    /// without mmwatch.
    pub fn connect(arguments: &[OsString]) -> io::Result<(Self, File)> {
        let [news, signals, inherited] = arguments else {
            return Err(io::Error::other("an internal argument is missing"));
        };
        let inherited = inherited.to_str().and_then(|text| text.parse().ok());
        libtracee::inherit(inherited.unwrap_or_default());
        let pid = Pid::parent();
        set_pdeathsig(Signal::SIGKILL)?;
        if Pid::parent() != pid {
            return Err(io::Error::other("mmwatch was killed"));
        }
        let open = |options: &mut OpenOptions, number: &OsString| {
            let path = format!("/proc/{pid}/fd/{}", number.to_string_lossy());
            options.open(path).map_err(|error| {
                let what = "mmwatch cannot access itself (is its program file readable?)";
                io::Error::new(error.kind(), format!("{what}: {error}"))
            })
        };
        let signals = open(
            OpenOptions::new().read(true).custom_flags(O_NONBLOCK),
            signals,
        )?;
        let news = open(OpenOptions::new().write(true), news)?;
        let front = Self {
            pid,
            news,
            is_stopped: Arc::default(),
        };
        Ok((front, signals))
    }

    /// Stops the front.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        let _ = (&self.news).write(&[STOPPED]);
    }

    /// Continues the front, also if it is only about to stop.
    pub fn go_on(&self) {
        self.is_stopped.store(false, Ordering::Relaxed);
        let _ = (&self.news).write(&[CONTINUED]);
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
