// SPDX-License-Identifier: GPL-2.0

//! Whether ranges of the calling process's own memory have changed.

use crate::counters::Counters;
use crate::device::explain;
use crate::device::Device;
use crate::device::Options;
use crate::device::Status;
use crate::event::Event;
use nix::errno::Errno;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

/// A process's watch on ranges of its own memory.
///
/// ```no_run
/// use libmmwatch::Ranges;
///
/// let ranges = Ranges::new(1024)?;
/// let buffer = vec![1u8; 1 << 20];
/// let range = ranges.add(buffer.as_ptr() as usize, buffer.len(), 42)?;
/// assert!(!range.changed());
/// drop(buffer);
/// // It was large: free() has unmapped it.
/// assert!(range.changed());
/// for event in ranges.events()?.into_iter().flatten() {
///     println!("of {}: {:#x}-{:#x}", event.cookie, event.start, event.end);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Any thread may use it. In a forked child nothing can be added, and all ranges are changed: the
/// memory is another one.
pub struct Ranges {
    shared: Arc<Shared>,
}

struct Shared {
    counters: Counters,
    device: Device,
}

impl Ranges {
    /// Watches the calling process, for so many ranges at one time.
    pub fn new(max: usize) -> io::Result<Self> {
        let options = Options {
            ranges: true,
            ..Options::default()
        };
        let device = Device::watch(0, options)?;
        let counters = Counters::map(&device, max)?;
        Ok(Self {
            shared: Arc::new(Shared { counters, device }),
        })
    }

    /// Watches a range, from now on. Events of it have the cookie.
    ///
    /// What the range is used for is to be looked up after this, not before: what has changed until
    /// then is not told.
    pub fn add(&self, address: usize, length: usize, cookie: u64) -> io::Result<Range> {
        let Some(end) = address.checked_add(length) else {
            let what = format!("{length} bytes at {address:#x} cannot be watched");
            return Err(explain(&what, Errno::EOVERFLOW));
        };
        let added = self
            .shared
            .device
            .add_range(address as u64..end as u64, cookie)?;
        self.shared.counters.settle();
        Ok(Range {
            shared: self.shared.clone(),
            address,
            length,
            index: added.index,
            value: added.value,
        })
    }

    /// Reads events, at least one; waits for it. None is the end.
    pub fn events(&self) -> io::Result<Option<Vec<Event>>> {
        self.shared.device.read()
    }

    /// Waits until there are events, for so long at the most. Returns whether there are.
    pub fn wait(&self, time: Duration) -> io::Result<bool> {
        self.shared.device.wait(time)
    }

    /// How the watch stands.
    pub fn status(&self) -> io::Result<Status> {
        self.shared.device.status()
    }
}

/// For those who wait for more than this.
impl AsFd for Ranges {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.device.as_fd()
    }
}

/// A range that is watched, until this is dropped.
pub struct Range {
    shared: Arc<Shared>,
    address: usize,
    length: usize,
    index: u32,
    value: u64,
}

impl Range {
    pub fn address(&self) -> usize {
        self.address
    }

    pub fn length(&self) -> usize {
        self.length
    }

    /// Whether anything of it was unmapped, moved, discarded or protected since it was added;
    /// without a system call. Once that was so it stays so.
    ///
    /// If it was not, then what was read of the range since it was added, and before this call, is
    /// of the memory that was there when it was added.
    pub fn changed(&self) -> bool {
        self.shared.counters.value(self.index) != Some(self.value)
    }

    /// The contrary.
    pub fn is_valid(&self) -> bool {
        !self.changed()
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        // Those of a child's parent are not the child's to remove.
        if self.shared.counters.are_of_caller() {
            // Where it fails the watch has ended, and the range with it.
            let _ = self.shared.device.remove_range(self.index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_thread_may_use_them() {
        fn check<T: Send + Sync>() {}
        check::<Ranges>();
        check::<Range>();
    }
}
