// SPDX-License-Identifier: GPL-2.0

//! The process that mmwatch has started: its state, and the signals that it has received.

use crate::front::Front;
use libtracee::Change;
use nix::unistd::Pid;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// Maximum time between the arrival of a signal that was sent to a process group at two of its
/// processes.
const SIMULTANEOUS: Duration = Duration::from_millis(250);
/// Time after which such a signal has arrived at the program.
const DELAY: Duration = Duration::from_millis(50);

#[derive(Default)]
struct State {
    pid: Option<Pid>,
    is_stopped: bool,
    end: Option<Change>,
    signals: HashMap<i32, Instant>,
}

#[derive(Default)]
pub struct Root {
    state: Mutex<State>,
    front: Option<Front>,
}

impl Root {
    pub fn new(front: Option<Front>) -> Self {
        Self {
            state: Mutex::default(),
            front,
        }
    }

    /// Records that the process has stopped: the front stops as well.
    pub fn stop(&self) {
        self.state().is_stopped = true;
        if let Some(front) = &self.front {
            front.stop();
        }
    }

    /// Records that the process is running.
    pub fn go_on(&self) {
        let has_stopped = std::mem::take(&mut self.state().is_stopped);
        if let Some(front) = self.front.as_ref().filter(|_| has_stopped) {
            front.go_on();
        }
    }

    /// Continues the front before mmwatch ends.
    pub fn wake_front(&self) {
        if let Some(front) = &self.front {
            front.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin(&self, pid: Pid) {
        self.state().pid = Some(pid);
    }

    pub fn is(&self, pid: Pid) -> bool {
        self.state().pid == Some(pid)
    }

    /// Records the end of the process. The kernel may then give its number to another process.
    pub fn end(&self, change: Change) {
        let mut state = self.state();
        state.pid = None;
        state.end = Some(change);
    }

    /// Returns whether the process was started and has not ended.
    pub fn is_running(&self) -> bool {
        self.state().pid.is_some()
    }

    /// Returns the end of the process, if it was started and has ended.
    pub fn ended(&self) -> Option<Change> {
        self.state().end
    }

    /// Returns the exit code, or 0 before the end.
    pub fn code(&self) -> u8 {
        self.ended().and_then(Change::exit_code).unwrap_or_default()
    }

    /// Records that a tracee receives a signal.
    pub fn note_signal(&self, pid: Pid, signal: i32) {
        let mut state = self.state();
        if state.pid == Some(pid) {
            state.signals.insert(signal, Instant::now());
        }
    }

    /// Sends the process a signal that mmwatch has received, unless the process has received the
    /// signal as well: a signal may be sent to a whole process group.
    pub fn forward(&self, signal: i32) {
        std::thread::sleep(DELAY);
        let state = self.state();
        let has_it = state
            .signals
            .get(&signal)
            .is_some_and(|time| time.elapsed() < SIMULTANEOUS);
        if let Some(pid) = state.pid.filter(|_| !has_it) {
            // Fails if the process has just ended.
            let _ = libtracee::kill(pid, signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Child;
    use std::process::Command;

    fn sleeping() -> (Child, Pid) {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        (child, pid)
    }

    #[test]
    fn a_signal_is_forwarded() {
        let root = Root::default();
        root.forward(15);
        let (mut child, pid) = sleeping();
        root.begin(pid);
        assert!(root.is(pid) && root.is_running());
        root.forward(15);
        assert_eq!(child.wait().unwrap().signal(), Some(15));
        root.end(Change::Killed(15));
        assert!(!root.is_running());
        assert_eq!(root.code(), 143);
    }

    #[test]
    fn a_signal_that_has_arrived_is_not_sent_again() {
        let root = Root::default();
        let (mut child, pid) = sleeping();
        root.begin(pid);
        root.note_signal(pid, 15);
        root.note_signal(Pid::from_raw(1), 9);
        root.forward(15);
        root.forward(9);
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
}
