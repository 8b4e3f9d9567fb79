// SPDX-License-Identifier: GPL-2.0

//! An event, as it is recorded and reported.

use libmmwatch::page_size;
use libmmwatch::Event as DeviceEvent;
use libmmwatch::KINDS;
use libmmwatch::KIND_DROPPED;
use libmmwatch::KIND_EXEC;
use libmmwatch::KIND_NOT_FOLLOWED;
use libmmwatch::KIND_RELEASE;
use serde::Deserialize;
use serde::Serialize;

/// `struct mmwatch_event`, without the fields that are only for a program that watches itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Nanoseconds since the program was started.
    pub time: u64,
    pub start: u64,
    pub end: u64,
    pub kind: u32,
    pub blockable: bool,
    pub executed: bool,
    pub pid: i32,
    pub tgid: i32,
    /// The system call of the thread; negative if there is none.
    pub syscall: i32,
    pub cpu: u32,
    /// Nanoseconds spent in the callback of the watch.
    pub latency: u32,
    /// The name of the task, if it does not belong to the watched process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The user stack of the thread, with `--stacks`; see `samples/mmwatch.h`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<u64>,
}

impl From<DeviceEvent> for Event {
    fn from(event: DeviceEvent) -> Self {
        Self {
            time: event.time,
            start: event.start,
            end: event.end,
            kind: event.kind,
            blockable: event.blockable,
            executed: event.executed,
            pid: event.pid,
            tgid: event.tgid,
            syscall: event.syscall,
            cpu: event.cpu,
            latency: event.latency,
            task: None,
            stack: event.stack,
        }
    }
}

impl Event {
    pub fn kind_name(&self) -> &'static str {
        kind_name(self.kind)
    }

    pub fn pages(&self) -> u64 {
        self.end.saturating_sub(self.start) / page_size()
    }

    /// Returns whether the event is about the watch itself, and not an invalidation.
    pub fn is_of_watch(&self) -> bool {
        [KIND_RELEASE, KIND_DROPPED, KIND_EXEC, KIND_NOT_FOLLOWED].contains(&self.kind)
    }

    /// Returns whether the events differ at most in time, latency, and fields that a report does
    /// not use.
    pub fn is_like(&self, other: &Self) -> bool {
        self.start == other.start
            && self.end == other.end
            && self.kind == other.kind
            && self.syscall == other.syscall
            && self.cpu == other.cpu
            && self.blockable == other.blockable
            && self.task == other.task
            // Most stacks are empty. Test this first, because comparing two empty slices is a call.
            && (self.stack.is_empty() && other.stack.is_empty() || self.stack == other.stack)
    }

    /// Describes the cause of the event, as far as it is known.
    pub fn reason(&self) -> String {
        reason(self.syscall, self.blockable, self.task.as_deref())
    }
}

pub fn reason(syscall: i32, blockable: bool, task: Option<&str>) -> String {
    let what = match usize::try_from(syscall) {
        Ok(number) => syscall_name(number),
        Err(_) if !blockable => "the OOM killer".into(),
        // For instance a copy on write.
        Err(_) if task.is_none() => "a page fault".into(),
        Err(_) => String::new(),
    };
    match (task, what.as_str()) {
        (None, _) => what,
        (Some(task), "") => task.into(),
        (Some(task), _) => format!("{what} ({task})"),
    }
}

pub fn kind_name(kind: u32) -> &'static str {
    KINDS.get(kind as usize).copied().unwrap_or("unknown")
}

/// Added to the number of a system call of a 32-bit program, see `samples/mmwatch.h`.
const COMPAT_CALL: usize = 1 << 29;

fn syscall_name(number: usize) -> String {
    if number & COMPAT_CALL != 0 {
        return format!("32-bit system call {}", number & !COMPAT_CALL);
    }
    match syscalls::Sysno::new(number) {
        Some(name) => name.name().into(),
        None => format!("system call {number}"),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A munmap().
    pub fn event(kind: u32, start: u64, end: u64) -> Event {
        Event {
            time: 1_500_000_000,
            start,
            end,
            kind,
            blockable: true,
            executed: false,
            pid: 7,
            tgid: 7,
            syscall: 11,
            cpu: 0,
            latency: 300,
            task: None,
            stack: Vec::new(),
        }
    }

    #[test]
    fn reasons() {
        let mut event = event(0, 0, 0x3000);
        assert_eq!(event.reason(), "munmap");
        assert_eq!((event.pages(), event.kind_name()), (3, "unmap"));
        event.task = Some("other".into());
        assert_eq!(event.reason(), "munmap (other)");
        event.syscall = -1;
        assert_eq!(event.reason(), "other");
        event.task = None;
        assert_eq!(event.reason(), "a page fault");
        event.blockable = false;
        assert_eq!(event.reason(), "the OOM killer");
        event.syscall = 11 | 1 << 29;
        assert_eq!(event.reason(), "32-bit system call 11");
        event.syscall = 100_000;
        assert_eq!(event.reason(), "system call 100000");
    }
}
