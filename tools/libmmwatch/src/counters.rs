// SPDX-License-Identifier: GPL-2.0

//! The counters of ranges, which the kernel increments.

use crate::counter;
use crate::device::explain;
use crate::device::page_size;
use crate::device::Device;
use crate::owner::Owner;
use nix::errno::Errno;
use nix::sys::mman::mmap;
use nix::sys::mman::munmap;
use nix::sys::mman::MapFlags;
use nix::sys::mman::ProtFlags;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// A mapping of the counters. A forked child does not inherit the mapping, so each access first
/// checks that the current process is the one that made the mapping.
pub struct Counters {
    first: NonNull<AtomicU64>,
    count: usize,
    owner: Owner,
}

// SAFETY: `first` points to atomic counters in a mapping that only `drop` unmaps, which any thread
// may do.
unsafe impl Send for Counters {}
// SAFETY: `Counters` gives access to the mapping only through atomic loads, which any number of
// threads may do.
unsafe impl Sync for Counters {}

impl Counters {
    /// Maps at least `count` counters, rounded up to whole pages.
    pub fn map(device: &Device, count: usize) -> io::Result<Self> {
        let what = format!("counters of {count} ranges cannot be mapped");
        let owner = Owner::new().map_err(|error| explain(&what, error))?;
        let length = count
            .checked_next_multiple_of(page_size() as usize / size_of::<AtomicU64>())
            .and_then(|count| count.checked_mul(size_of::<AtomicU64>()))
            .and_then(NonZeroUsize::new)
            .ok_or_else(|| explain(&what, Errno::EINVAL))?;
        let (protection, flags) = (ProtFlags::PROT_READ, MapFlags::MAP_SHARED);
        // SAFETY: The kernel chooses the address (`None`), so mmap() replaces no existing mapping.
        let first = unsafe { mmap(None, length, protection, flags, device, 0) }
            .map_err(|errno| explain(&what, errno))?;
        Ok(Self {
            first: first.cast(),
            count: length.get() / size_of::<AtomicU64>(),
            owner,
        })
    }

    /// Returns whether the calling process has mapped the counters.
    pub fn are_of_caller(&self) -> bool {
        self.owner.is_caller()
    }

    /// Waits until no CPU can read pages that were unmapped before. Called after a range was added.
    pub fn settle(&self) {
        self.owner.settle();
    }

    /// Returns the value of a counter, or `None` in a forked child. [`counter::read`] documents the
    /// ordering.
    pub fn value(&self, index: u32) -> Option<u64> {
        let index = index as usize;
        if !self.owner.is_caller() || index >= self.count {
            return None;
        }
        // SAFETY: `index` is less than `count`, so the counter is in the mapping. The mapping
        // exists in this process, as `is_caller()` has returned true, until `self` is dropped.
        let counter = unsafe { self.first.add(index).as_ref() };
        Some(counter::read(counter))
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        // In a child, other memory may be mapped at this address.
        if self.owner.is_caller() {
            let length = self.count * size_of::<AtomicU64>();
            // SAFETY: `first` and `length` are the address and the length of the mapping made by
            // `map()`, which `self` owns. `self` is dropped, so no reference into the mapping
            // exists. If munmap() fails, the mapping is leaked.
            let _ = unsafe { munmap(self.first.cast(), length) };
        }
    }
}
