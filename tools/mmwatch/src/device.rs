// SPDX-License-Identifier: GPL-2.0

//! `/dev/mmwatch`, as `samples/mmwatch.h` describes it.

use nix::errno::Errno;
use nix::poll::poll;
use nix::poll::PollFd;
use nix::poll::PollFlags;
use nix::poll::PollTimeout;
use nix::unistd::sysconf;
use nix::unistd::SysconfVar;
use serde::Deserialize;
use serde::Serialize;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::time::Duration;

const PATH: &str = "/dev/mmwatch";

/// The names of `enum mmwatch_kind`, in its order.
pub const KINDS: [&str; 10] = [
    "unmap",
    "clear",
    "protect",
    "protect-page",
    "soft-dirty",
    "release",
    "migrate",
    "exclusive",
    "other",
    "dropped",
];
pub const KIND_RELEASE: u32 = 5;
pub const KIND_DROPPED: u32 = 9;

#[repr(C)]
pub struct WatchArgument {
    pid: i32,
    flags: u32,
    count_address: u64,
}

/// Of a watch: not all of the address space.
const RANGES: u32 = 1;

#[repr(C)]
pub struct RangeArgument {
    start: u64,
    length: u64,
    cookie: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[repr(C)]
pub struct Status {
    pub count: u64,
    pub published: u64,
    pub pages: u64,
    pub dropped: u64,
    pub ended: u32,
    #[serde(skip)]
    reserved: u32,
}

nix::ioctl_write_ptr!(watch, 0xB8, 1, WatchArgument);
nix::ioctl_read!(status, 0xB8, 2, Status);
nix::ioctl_write_ptr!(add_range, 0xB8, 4, RangeArgument);

/// `struct mmwatch_event`.
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
    /// Negative, if it was not in one.
    pub syscall: i32,
    pub cpu: u32,
    /// Nanoseconds.
    pub latency: u32,
    /// What the task is called, if it is not one of the process itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
}

impl Event {
    const SIZE: usize = 72;

    fn from_bytes(bytes: &[u8]) -> Self {
        let u64_at = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
        let u32_at = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        Self {
            time: u64_at(0),
            start: u64_at(8),
            end: u64_at(16),
            kind: u32_at(32),
            blockable: u32_at(36) & 1 != 0,
            executed: u32_at(36) & 2 != 0,
            pid: u32_at(40) as i32,
            tgid: u32_at(44) as i32,
            syscall: u32_at(48) as i32,
            cpu: u32_at(52),
            latency: u32_at(56),
            task: None,
        }
    }

    pub fn kind_name(&self) -> &'static str {
        KINDS.get(self.kind as usize).copied().unwrap_or("unknown")
    }

    pub fn pages(&self) -> u64 {
        self.end.saturating_sub(self.start) / page_size()
    }

    /// Who or what did it, as far as it can be told.
    pub fn reason(&self) -> String {
        let what = match usize::try_from(self.syscall) {
            Ok(number) => syscall_name(number),
            Err(_) if !self.blockable => "the OOM killer".into(),
            // Its memory was copied on write, say.
            Err(_) if self.task.is_none() => "a page fault".into(),
            Err(_) => String::new(),
        };
        match (&self.task, what.as_str()) {
            (None, _) => what,
            (Some(task), "") => task.clone(),
            (Some(task), _) => format!("{what} ({task})"),
        }
    }
}

fn syscall_name(number: usize) -> String {
    match syscalls::Sysno::new(number) {
        Some(name) => name.name().into(),
        None => format!("system call {number}"),
    }
}

pub fn page_size() -> u64 {
    match sysconf(SysconfVar::PAGE_SIZE) {
        Ok(Some(size)) => size as u64,
        _ => 4096,
    }
}

/// A watch on one address space.
pub struct Device {
    file: File,
    buffer: Vec<u8>,
}

impl Device {
    /// Watches `pid`, which the caller traces and has stopped; or only what is added of it.
    pub fn watch(pid: i32, ranges: bool) -> io::Result<Self> {
        let explain = |error: io::Error, what: &str| {
            io::Error::new(error.kind(), format!("{PATH}: {what}: {error}"))
        };
        let file = OpenOptions::new().read(true).open(PATH).map_err(|error| {
            let next = match error.kind() {
                io::ErrorKind::NotFound => {
                    "cannot be opened (is the module loaded? insmod mmwatch.ko)"
                }
                io::ErrorKind::PermissionDenied => "cannot be opened (it is root's)",
                _ => "cannot be opened",
            };
            explain(error, next)
        })?;
        let argument = WatchArgument {
            pid,
            flags: if ranges { RANGES } else { 0 },
            count_address: 0,
        };
        // SAFETY: The argument is what this request expects.
        unsafe { watch(file.as_raw_fd(), &argument) }
            .map_err(|errno| explain(errno.into(), &format!("cannot watch process {pid}")))?;
        Ok(Self {
            file,
            buffer: vec![0; 1024 * Event::SIZE],
        })
    }

    /// Watches a range.
    pub fn add_range(&self, range: Range<u64>) -> io::Result<()> {
        let argument = RangeArgument {
            start: range.start,
            length: range.end.saturating_sub(range.start),
            cookie: 0,
        };
        // SAFETY: The argument is what this request expects.
        unsafe { add_range(self.file.as_raw_fd(), &argument) }
            .map(|_| ())
            .map_err(|errno| {
                io::Error::other(format!(
                    "the range {:#x}-{:#x} cannot be watched: {errno}",
                    range.start, range.end
                ))
            })
    }

    /// Waits until there is something to read, for so long at the most. Returns whether there is.
    pub fn wait(&self, time: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        let time = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, time) {
            Ok(ready) => Ok(ready != 0),
            Err(Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Reads events, at least one. None is the end.
    pub fn read(&mut self) -> io::Result<Option<Vec<Event>>> {
        loop {
            match self.file.read(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(size) => {
                    return Ok(Some(
                        self.buffer[..size]
                            .chunks_exact(Event::SIZE)
                            .map(Event::from_bytes)
                            .collect(),
                    ))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub fn status(&self) -> Result<Status, Errno> {
        let mut result = Status::default();
        // SAFETY: The argument is what this request fills.
        unsafe { status(self.file.as_raw_fd(), &mut result) }?;
        Ok(result)
    }
}
