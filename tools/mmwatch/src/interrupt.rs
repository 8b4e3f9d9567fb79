// SPDX-License-Identifier: GPL-2.0

//! Signals that mmwatch receives.
//!
//! A signal is meant for the program that mmwatch has started, as long as this program runs.
//! Otherwise, and if mmwatch watches a running process, the signal ends the watch, and the report
//! is written. If output is blocked at that time, mmwatch ends without it.

use crate::collector::Input;
use crate::control::Control;
use crate::front::OF_TERMINAL;
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
use std::fs::File;
use std::io;
use std::io::Read;
use std::os::fd::AsFd;
use std::sync::mpsc::SyncSender;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// Time to wait for readers of events at the end of the watch.
const READERS: Duration = Duration::from_secs(3);
/// Time for which output is blocked, after a signal, before mmwatch ends without it.
const BLOCKED: Duration = Duration::from_secs(1);
const PERIOD: u16 = 100;

const SIGNALS: [Signal; 4] = [
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGHUP,
];

/// Blocks the signals in the process behind the front, which receives them from the front.
pub fn block() -> io::Result<()> {
    let set: SigSet = SIGNALS.into_iter().collect();
    Ok(set.thread_block()?)
}

/// Blocks the signals and returns a descriptor from which they are read. Must precede the start of
/// other threads, which inherit this.
pub fn receive() -> io::Result<SignalFd> {
    let ignored = own_signals("SigIgn");
    // A signal that is ignored, as by nohup, stays ignored.
    let set: SigSet = SIGNALS
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
    /// Numbers of signals, from the front.
    pub signals: File,
    pub root: Arc<Root>,
    pub control: Control,
    pub inputs: SyncSender<Input>,
}

impl Interrupts {
    /// Handles signals until mmwatch ends.
    pub fn run(mut self) -> io::Result<()> {
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
            let mut numbers = [0; 64];
            let count = match self.signals.read(&mut numbers) {
                // The front is gone, and this process is being killed.
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            for number in &numbers[..count] {
                last = Some(Instant::now());
                if !self.root.is_running() {
                    self.end();
                } else if number & OF_TERMINAL == 0 {
                    self.root.forward((*number).into());
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
