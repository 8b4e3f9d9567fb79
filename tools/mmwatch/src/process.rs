// SPDX-License-Identifier: GPL-2.0

//! Information about a task from `/proc`.

use nix::unistd::Pid;
use std::fs;

/// Returns the name of a task.
pub fn comm(pid: i32) -> Option<String> {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(comm.trim_end().into())
}

/// Returns whether the task is a thread, but not the main thread of its process.
pub fn is_thread(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .ok()
        .and_then(|status| {
            let line = status.lines().find(|line| line.starts_with("Tgid:"))?;
            line["Tgid:".len()..].trim().parse::<i32>().ok()
        })
        .is_some_and(|tgid| tgid != pid.as_raw())
}
