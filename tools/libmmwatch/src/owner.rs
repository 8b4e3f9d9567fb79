// SPDX-License-Identifier: GPL-2.0

//! Distinguishes a process from its forked child.

use crate::device::page_size;
use nix::errno::Errno;
use nix::sys::mman::madvise;
use nix::sys::mman::mmap_anonymous;
use nix::sys::mman::munmap;
use nix::sys::mman::MapFlags;
use nix::sys::mman::MmapAdvise;
use nix::sys::mman::ProtFlags;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

/// A word that is 1 in the process that has created it, and 0 in a forked child, because the page
/// of the word is wiped on fork. The mapping has a second page, which is unused.
pub struct Owner {
    word: NonNull<AtomicU32>,
    page: NonZeroUsize,
}

// SAFETY: `word` points to an atomic in a mapping that only `drop` unmaps, which any thread may do.
unsafe impl Send for Owner {}
// SAFETY: `Owner` accesses the word only by atomic operations, which any number of threads may do.
unsafe impl Sync for Owner {}

impl Owner {
    pub fn new() -> io::Result<Self> {
        let page = NonZeroUsize::new(page_size() as usize).ok_or(Errno::EINVAL)?;
        let length = page.checked_mul(TWO).ok_or(Errno::EINVAL)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: The kernel chooses the address (`None`), so mmap() replaces no existing mapping.
        let pages = unsafe { mmap_anonymous(None, length, protection, MapFlags::MAP_PRIVATE) }?;
        let word = pages.cast();
        let owner = Self { word, page };
        // SAFETY: The range is this new mapping. MADV_WIPEONFORK does not change its contents in
        // this process.
        unsafe { madvise(pages, length.get(), MmapAdvise::MADV_WIPEONFORK) }?;
        owner.word().store(1, Ordering::Relaxed);
        Ok(owner)
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: The word is at the start of a page, so it is aligned. It is mapped until `self`
        // is dropped, in a forked child as well, and is accessed only by atomic operations.
        unsafe { self.word.as_ref() }
    }

    /// Waits until no CPU can read, through its TLB, a page that another thread has unmapped or is
    /// unmapping after calling its notifiers. madvise(MADV_DONTNEED) does not return before such
    /// TLBs are flushed, even for a page that was never used.
    pub fn settle(&self) {
        // SAFETY: The range is the second page of the mapping that `self` owns. The page is unused,
        // so no reference into it exists.
        let _ = unsafe {
            madvise(
                self.word.byte_add(self.page.get()).cast(),
                self.page.get(),
                MmapAdvise::MADV_DONTNEED,
            )
        };
    }

    /// Returns whether the calling process has created this object.
    pub fn is_caller(&self) -> bool {
        self.word().load(Ordering::Relaxed) == 1
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: `word` and the length are those of the mapping made by `new()`, which `self`
        // owns. `self` is dropped, so no reference into the mapping exists. If munmap() fails, the
        // mapping is leaked.
        let _ = unsafe { munmap(self.word.cast(), TWO.get() * self.page.get()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::waitpid;
    use nix::sys::wait::WaitStatus;
    use nix::unistd::fork;
    use nix::unistd::ForkResult;

    #[test]
    fn a_child_is_not_the_owner() {
        let owner = Owner::new().unwrap();
        assert!(owner.is_caller());
        // SAFETY: The child calls no function that may take a lock of another thread: it only loads
        // a word and exits.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => std::process::exit(if owner.is_caller() { 1 } else { 0 }),
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
            }
        }
        owner.settle();
        assert!(owner.is_caller());
    }
}
