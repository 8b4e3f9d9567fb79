// SPDX-License-Identifier: GPL-2.0

//! Access to `/dev/mmwatch`. `samples/mmwatch.h` describes the device.

use crate::event::Event;
use nix::errno::Errno;
use nix::poll::poll;
use nix::poll::PollFd;
use nix::poll::PollFlags;
use nix::poll::PollTimeout;
use nix::unistd::sysconf;
use nix::unistd::SysconfVar;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::time::Duration;

const PATH: &str = "/dev/mmwatch";

#[repr(C)]
pub struct WatchArgument {
    pid: i32,
    flags: u32,
    count_address: u64,
}

const RANGES: u32 = 1 << 0;
const STACKS: u32 = 1 << 1;
const FOLLOW: u32 = 1 << 2;

#[repr(C)]
pub struct RangeArgument {
    start: u64,
    length: u64,
    cookie: u64,
    value: u64,
    index: u32,
    reserved: u32,
}

/// The state of a watch.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Status {
    /// Number of invalidations.
    pub count: u64,
    /// The last value of `count` that was published.
    pub published: u64,
    /// Number of invalidated pages; a page counts at each invalidation.
    pub pages: u64,
    /// Number of dropped events.
    pub dropped: u64,
    ended: u32,
    reserved: u32,
}

nix::ioctl_write_ptr!(watch, 0xB8, 1, WatchArgument);
nix::ioctl_read!(status, 0xB8, 2, Status);
nix::ioctl_readwrite!(add_range, 0xB8, 4, RangeArgument);
nix::ioctl_write_int_bad!(remove_range, nix::request_code_none!(0xB8, 5));
nix::ioctl_read!(version, 0xB8, 6, u32);

/// `MMWATCH_INTERFACE`: the version of the interface that this library uses.
const INTERFACE: u32 = 1;

/// Refuses a module with another version of the interface. `found` is the result of
/// `MMWATCH_VERSION`, an ioctl that the first modules lack.
fn check_version(found: Result<u32, Errno>) -> io::Result<()> {
    let found = match found {
        Ok(INTERFACE) => return Ok(()),
        Ok(version) => format!("version {version}"),
        Err(Errno::ENOTTY) => "no version".into(),
        Err(errno) => return Err(explain("cannot read the version of the module", errno)),
    };
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        format!(
            "{PATH}: the loaded module has {found} of the interface, and this program needs \
             version {INTERFACE} (install both from one source: make install; then: rmmod mmwatch; \
             modprobe mmwatch)"
        ),
    ))
}

pub fn page_size() -> u64 {
    static SIZE: OnceLock<u64> = OnceLock::new();
    *SIZE.get_or_init(|| match sysconf(SysconfVar::PAGE_SIZE) {
        Ok(Some(size)) => size as u64,
        _ => 4096,
    })
}

/// Adds the failed action to an error.
pub(crate) fn explain(what: &str, error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), format!("{PATH}: {what}: {error}"))
}

/// Options of a watch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Watch only the ranges added by [`Device::add_range`].
    pub ranges: bool,
    /// Record the user stack of the thread in each event.
    pub stacks: bool,
    /// If the watched process, which must be another one, executes a program, watch that program
    /// too.
    pub follow: bool,
}

/// A range that was added.
#[derive(Clone, Copy, Debug)]
pub struct Added {
    /// Index of the counter of the range; identifies the range in [`Device::remove_range`].
    pub index: u32,
    /// Value of the counter.
    pub value: u64,
}

/// A watch on one address space.
///
/// ```no_run
/// use libmmwatch::Device;
/// use libmmwatch::Options;
///
/// let device = Device::watch(0, Options::default())?;
/// drop(vec![1u8; 1 << 20]);
/// for event in device.read()?.into_iter().flatten() {
///     println!("{:#x}-{:#x}", event.start, event.end);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Device {
    file: File,
    /// Size of an event in bytes.
    size: usize,
    buffer: Mutex<Vec<u8>>,
}

impl Device {
    /// Watches the calling process (0), or a process that the caller traces and has stopped.
    pub fn watch(pid: i32, options: Options) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).open(PATH).map_err(|error| {
            let what = match error.kind() {
                io::ErrorKind::NotFound => {
                    "cannot be opened (is the module loaded? modprobe mmwatch)"
                }
                io::ErrorKind::PermissionDenied => {
                    "cannot be opened (this needs root privileges, or the group of the device)"
                }
                _ => "cannot be opened",
            };
            explain(what, error)
        })?;
        let mut found = 0;
        // SAFETY: MMWATCH_VERSION writes one `u32`, to which the pointer refers. The kernel does
        // not keep the pointer.
        let result = unsafe { version(file.as_raw_fd(), &mut found) };
        check_version(result.map(|_| found))?;
        let flag = |given: bool, flag: u32| if given { flag } else { 0 };
        let argument = WatchArgument {
            pid,
            flags: flag(options.ranges, RANGES)
                | flag(options.stacks, STACKS)
                | flag(options.follow, FOLLOW),
            count_address: 0,
        };
        // SAFETY: MMWATCH_WATCH reads one `WatchArgument`, to which the pointer refers. The kernel
        // does not keep the pointer.
        unsafe { watch(file.as_raw_fd(), &argument) }.map_err(|errno| {
            let what = match pid {
                0 => "cannot watch this process".into(),
                _ => format!("cannot watch process {pid}"),
            };
            explain(&what, errno)
        })?;
        let size = Event::size(options.stacks);
        Ok(Self {
            file,
            size,
            buffer: Mutex::new(vec![0; 1024 * size]),
        })
    }

    /// Adds a range. Events of the range carry the cookie.
    pub fn add_range(&self, range: Range<u64>, cookie: u64) -> io::Result<Added> {
        let mut argument = RangeArgument {
            start: range.start,
            length: range.end.saturating_sub(range.start),
            cookie,
            value: 0,
            index: 0,
            reserved: 0,
        };
        // SAFETY: MMWATCH_ADD_RANGE reads and writes one `RangeArgument`, to which the exclusive
        // reference refers. The kernel does not keep the pointer.
        unsafe { add_range(self.file.as_raw_fd(), &mut argument) }.map_err(|errno| {
            let what = format!(
                "the range {:#x}-{:#x} cannot be watched",
                range.start, range.end
            );
            explain(&what, errno)
        })?;
        Ok(Added {
            index: argument.index,
            value: argument.value,
        })
    }

    /// Removes a range.
    pub fn remove_range(&self, index: u32) -> io::Result<()> {
        let name = i32::try_from(index).map_err(|_| io::Error::from(Errno::ENOENT))?;
        // SAFETY: MMWATCH_REMOVE_RANGE takes a number, not a pointer.
        unsafe { remove_range(self.file.as_raw_fd(), name) }
            .map_err(|errno| explain(&format!("range {index} cannot be removed"), errno))?;
        Ok(())
    }

    /// Waits until an event can be read, for at most `time`. Returns whether one can be read.
    pub fn wait(&self, time: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        let time = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, time) {
            Ok(ready) => Ok(ready != 0),
            Err(Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Reads events. Waits for the first one. Returns `None` at the end of the watch.
    pub fn read(&self) -> io::Result<Option<Vec<Event>>> {
        // The contents of the buffer are overwritten before they are used, so a poisoned lock is
        // harmless.
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match (&self.file).read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(size) => {
                    let events = buffer[..size].chunks_exact(self.size);
                    return Ok(Some(events.map(Event::from_bytes).collect()));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(explain("cannot be read", error)),
            }
        }
    }

    pub fn status(&self) -> io::Result<Status> {
        let mut result = Status::default();
        // SAFETY: MMWATCH_STATUS writes one `Status`, to which the exclusive reference refers. The
        // kernel does not keep the pointer.
        unsafe { status(self.file.as_raw_fd(), &mut result) }
            .map_err(|errno| explain("the status cannot be read", errno))?;
        Ok(result)
    }
}

/// For polling together with other file descriptors.
impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert!(check_version(Ok(INTERFACE)).is_ok());
        let refused = |found| check_version(found).unwrap_err().to_string();
        assert!(refused(Ok(INTERFACE + 1)).contains("has version 2 of the interface"));
        assert!(refused(Err(Errno::ENOTTY)).contains("has no version of the interface"));
        assert!(refused(Err(Errno::EFAULT)).contains("cannot read the version"));
        for found in [Ok(0), Err(Errno::ENOTTY), Err(Errno::EIO)] {
            assert!(!refused(found).contains('\n'));
        }
    }
}
