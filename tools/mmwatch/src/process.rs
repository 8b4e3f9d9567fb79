// SPDX-License-Identifier: GPL-2.0

//! Information about a task from `/proc`.

use crate::text;
use nix::unistd::Pid;
use std::fs;

/// Returns the name of a task. The kernel may have cut it inside a character.
pub fn comm(pid: i32) -> Option<String> {
    let comm = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(text::from_bytes(comm.strip_suffix(b"\n").unwrap_or(&comm)))
}

/// Returns the value of a line of `/proc/PID/status`.
fn status(pid: &str, name: &str) -> Option<String> {
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    let value = status.split(|byte| *byte == b'\n').find_map(|line| {
        line.strip_prefix(name.as_bytes())
            .and_then(|rest| rest.strip_prefix(b":"))
    })?;
    Some(String::from_utf8_lossy(value).trim().into())
}

fn number(pid: i32, name: &str) -> Option<i32> {
    status(&pid.to_string(), name)?.parse().ok()
}

/// Returns the process of a task.
pub fn process_of(pid: i32) -> Option<i32> {
    number(pid, "Tgid")
}

/// Returns the parent of a process.
pub fn parent_of(pid: Pid) -> Option<Pid> {
    number(pid.as_raw(), "PPid").map(Pid::from_raw)
}

/// Returns whether the task is a thread, but not the main thread of its process.
pub fn is_thread(pid: Pid) -> bool {
    process_of(pid.as_raw()).is_some_and(|process| process != pid.as_raw())
}

/// Returns whether job control has stopped a process.
pub fn has_stopped(pid: i32) -> bool {
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name of the process, in parentheses, may contain anything.
    let name = stat.iter().rposition(|byte| *byte == b')');
    name.and_then(|end| stat.get(end + 2)) == Some(&b'T')
}

/// Returns a set of signals of this process, for example `SigIgn`: signal 1 is the lowest bit.
pub fn own_signals(name: &str) -> u64 {
    status("self", name)
        .and_then(|mask| u64::from_str_radix(&mask, 16).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    #[test]
    fn of_this_process() {
        let pid = std::process::id() as i32;
        assert_eq!(process_of(pid), Some(pid));
        assert!(!is_thread(Pid::from_raw(pid)));
        assert!(!has_stopped(pid));
        assert_eq!(parent_of(Pid::this()), Some(Pid::parent()));
        assert!(comm(pid).is_some_and(|name| !name.is_empty()));
        // The run-time library of Rust ignores SIGPIPE.
        assert_eq!(own_signals("SigIgn") >> 12 & 1, 1);
        assert_eq!(own_signals("Nothing"), 0);
    }

    #[test]
    fn of_no_process() {
        assert_eq!(process_of(-1), None);
        assert_eq!(comm(-1), None);
        assert!(!is_thread(Pid::from_raw(-1)));
    }

    /// The kernel keeps 15 bytes of a name, here without the last byte of a character.
    #[test]
    fn a_name_that_is_cut_inside_a_character() {
        let (tids, tid) = mpsc::channel();
        let (end, wait) = mpsc::channel::<()>();
        let named = thread::spawn(move || {
            let mut name = b"thirteen-long ".to_vec();
            name.extend("日".as_bytes());
            std::fs::write("/proc/thread-self/comm", &name).unwrap();
            tids.send(nix::unistd::gettid()).unwrap();
            let _ = wait.recv();
        });
        let tid: Pid = tid.recv().unwrap();
        assert!(is_thread(tid));
        assert_eq!(comm(tid.as_raw()).as_deref(), Some("thirteen-long \\346"));
        drop(end);
        named.join().unwrap();
    }
}
