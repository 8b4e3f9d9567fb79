// SPDX-License-Identifier: GPL-2.0

//! The counters of ranges, which the kernel writes.

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
use std::sync::atomic::fence;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// A mapping of them. A forked child does not have it, which is why it is looked first whether this
/// is one.
pub struct Counters {
    first: NonNull<AtomicU64>,
    count: usize,
    owner: Owner,
}

// SAFETY: What it points to are atomics in a mapping that goes by `drop` only, in whatever thread.
unsafe impl Send for Counters {}
// SAFETY: As above.
unsafe impl Sync for Counters {}

impl Counters {
    /// Maps so many, or somewhat more: whole pages.
    pub fn map(device: &Device, count: usize) -> io::Result<Self> {
        let what = format!("counters of {count} ranges cannot be mapped");
        let owner = Owner::new().map_err(|error| explain(&what, error))?;
        let length = count
            .checked_next_multiple_of(page_size() as usize / size_of::<AtomicU64>())
            .and_then(|count| count.checked_mul(size_of::<AtomicU64>()))
            .and_then(NonZeroUsize::new)
            .ok_or_else(|| explain(&what, Errno::EINVAL))?;
        let (protection, flags) = (ProtFlags::PROT_READ, MapFlags::MAP_SHARED);
        // SAFETY: A new mapping, where nothing is.
        let first = unsafe { mmap(None, length, protection, flags, device, 0) }
            .map_err(|errno| explain(&what, errno))?;
        Ok(Self {
            first: first.cast(),
            count: length.get() / size_of::<AtomicU64>(),
            owner,
        })
    }

    /// Whether the calling process has mapped them.
    pub fn are_of_caller(&self) -> bool {
        self.owner.is_caller()
    }

    /// After a range was added: lets nobody read any more what was unmapped before.
    pub fn settle(&self) {
        self.owner.settle();
    }

    /// What one is. None where it cannot be told: in a forked child.
    ///
    /// What was read of the range before this is from before it, what is read later is from after
    /// it.
    pub fn value(&self, index: u32) -> Option<u64> {
        let index = index as usize;
        if !self.owner.is_caller() || index >= self.count {
            return None;
        }
        // SAFETY: There are so many in the mapping, and this process has that as long as `self` is
        // there.
        let counter = unsafe { self.first.add(index).as_ref() };
        fence(Ordering::Acquire);
        // Relaxed, and a fence: of atomic loads, only relaxed ones are allowed on memory that is
        // read-only.
        let value = counter.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        Some(value)
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        // A child may have something else there.
        if self.owner.is_caller() {
            let length = self.count * size_of::<AtomicU64>();
            // SAFETY: The mapping is of this, and nobody has a reference into it any more. A
            // failure leaks it.
            let _ = unsafe { munmap(self.first.cast(), length) };
        }
    }
}
