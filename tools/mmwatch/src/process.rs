// SPDX-License-Identifier: GPL-2.0

//! What `/proc` has of a task.

use nix::unistd::Pid;
use std::fs;

/// What it is called.
pub fn comm(pid: i32) -> Option<String> {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(comm.trim_end().into())
}

/// Whether it is a thread of another one's process.
pub fn is_thread(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .ok()
        .and_then(|status| {
            let line = status.lines().find(|line| line.starts_with("Tgid:"))?;
            line["Tgid:".len()..].trim().parse::<i32>().ok()
        })
        .is_some_and(|tgid| tgid != pid.as_raw())
}
