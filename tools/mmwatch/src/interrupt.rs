// SPDX-License-Identifier: GPL-2.0

//! Signals that mmwatch receives.
//!
//! A signal is meant for the program that mmwatch has started, as long as this program runs.
//! Otherwise, and if mmwatch watches a running process, the signal ends the watch, and the report
//! is written. If output is blocked at that time, mmwatch ends without it.

use crate::collector::Input;
use crate::control::Control;
use crate::output::complain;
use crate::output::write_begun;
use crate::process::own_signals;
use crate::root::Root;
use nix::errno::Errno;
use nix::poll::poll;
use nix::poll::PollFd;
use nix::poll::PollFlags;
use nix::poll::PollTimeout;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SfdFlags;
use nix::sys::signalfd::SignalFd;
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::SyncSender;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// Code of a signal that the kernel has sent, for instance for a key of the terminal. All processes
/// in the foreground have received it.
pub const FROM_KERNEL: i32 = 0x80;
/// Time to wait for readers of events at the end of the watch.
const READERS: Duration = Duration::from_secs(3);
/// Time for which output is blocked, after a signal, before mmwatch ends without it.
const BLOCKED: Duration = Duration::from_secs(1);
const PERIOD: u16 = 100;

/// Blocks the signals. Must precede the start of other threads, which inherit this.
pub fn block() -> io::Result<SignalFd> {
    let signals = [
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGHUP,
    ];
    let ignored = own_signals("SigIgn");
    // A signal that is ignored, as by nohup, stays ignored.
    let set: SigSet = signals
        .into_iter()
        .filter(|signal| ignored >> (*signal as i32 - 1) & 1 == 0)
        .collect();
    set.thread_block()?;
    Ok(SignalFd::with_flags(
        &set,
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )?)
}

pub struct Interrupts {
    pub signals: SignalFd,
    pub root: Arc<Root>,
    pub control: Control,
    pub inputs: SyncSender<Input>,
}

impl Interrupts {
    /// Handles signals until mmwatch ends.
    pub fn run(self) -> io::Result<()> {
        let mut last = None;
        loop {
            // After a signal, look from time to time whether output is blocked.
            let time = match last {
                Some(_) => PollTimeout::from(PERIOD),
                None => PollTimeout::NONE,
            };
            let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, time) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            while let Some(signal) = self.signals.read_signal()? {
                if signal.ssi_code != FROM_KERNEL && !self.root.obeys(signal.ssi_pid) {
                    continue;
                }
                last = Some(Instant::now());
                if !self.root.is_running() {
                    self.end();
                } else if signal.ssi_code != FROM_KERNEL {
                    self.root.forward(signal.ssi_signo as i32);
                }
            }
            if !self.root.is_running() && last.is_some_and(is_blocked) {
                complain("the report is incomplete: its output is blocked");
                self.root.wake_front();
                let code = self.root.ended().map_or(125, |_| self.root.code());
                std::process::exit(code.into());
            }
        }
    }

    fn end(&self) {
        self.control.end();
        let (control, inputs) = (self.control.clone(), self.inputs.clone());
        // If the collector is blocked, so is this thread.
        let end = move || {
            control.wait_for_readers(READERS);
            let _ = inputs.send(Input::End);
        };
        let _ = thread::Builder::new().spawn(end);
    }
}

/// Returns whether output was blocked when a signal arrived, and still is.
fn is_blocked(signal: Instant) -> bool {
    write_begun().is_some_and(|begun| begun < signal) && signal.elapsed() > BLOCKED
}
