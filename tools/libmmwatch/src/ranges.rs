// SPDX-License-Identifier: GPL-2.0

//! Detects changes of ranges of the calling process's own memory.

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
/// // The allocation is large, so free() has unmapped it.
/// assert!(range.changed());
/// for event in ranges.events()?.into_iter().flatten() {
///     println!("of {}: {:#x}-{:#x}", event.cookie, event.start, event.end);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Any thread may use a watch. In a forked child, no range can be added, and all ranges count as
/// changed, because the child has a copy of the memory.
pub struct Ranges {
    shared: Arc<Shared>,
}

struct Shared {
    counters: Counters,
    device: Device,
}

impl Ranges {
    /// Watches the calling process, with room for `max` ranges at one time.
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

    /// Adds a range. Events of the range carry the cookie.
    ///
    /// Data derived from the range must be read after this call, not before: changes before the
    /// call are not detected.
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

    /// Reads events. Waits for the first one. Returns `None` at the end of the watch.
    pub fn events(&self) -> io::Result<Option<Vec<Event>>> {
        self.shared.device.read()
    }

    /// Waits until an event can be read, for at most `time`. Returns whether one can be read.
    pub fn wait(&self, time: Duration) -> io::Result<bool> {
        self.shared.device.wait(time)
    }

    /// Returns the state of the watch.
    pub fn status(&self) -> io::Result<Status> {
        self.shared.device.status()
    }
}

/// For polling together with other file descriptors.
impl AsFd for Ranges {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.device.as_fd()
    }
}

/// A watched range. Dropping it removes the range from the watch.
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

    /// Returns whether any part of the range was unmapped, moved, discarded or protected since the
    /// range was added. Takes no system call. Once this returns true, it always does.
    ///
    /// If this returns false, all data read from the range since it was added is from the memory
    /// that was mapped at that time.
    pub fn changed(&self) -> bool {
        self.shared.counters.value(self.index) != Some(self.value)
    }

    /// Returns the opposite of [`Range::changed`].
    pub fn is_valid(&self) -> bool {
        !self.changed()
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        // A child must not remove the ranges of its parent.
        if self.shared.counters.are_of_caller() {
            // If this fails, the watch has ended, and its ranges with it.
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
