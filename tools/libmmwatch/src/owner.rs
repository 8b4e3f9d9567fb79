// SPDX-License-Identifier: GPL-2.0

//! Tells a process from its forked child.

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

/// A word that is 1 for who has made this, and 0 for a forked child: it is in a page that a fork
/// wipes. Beside it is a page in which nothing is.
pub struct Owner {
    word: NonNull<AtomicU32>,
    page: NonZeroUsize,
}

// SAFETY: What it points to is an atomic in a mapping that goes by `drop` only, in whatever thread.
unsafe impl Send for Owner {}
// SAFETY: As above.
unsafe impl Sync for Owner {}

impl Owner {
    pub fn new() -> io::Result<Self> {
        let page = NonZeroUsize::new(page_size() as usize).ok_or(Errno::EINVAL)?;
        let length = page.checked_mul(TWO).ok_or(Errno::EINVAL)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: A new mapping, where nothing is.
        let pages = unsafe { mmap_anonymous(None, length, protection, MapFlags::MAP_PRIVATE) }?;
        let word = pages.cast();
        let owner = Self { word, page };
        // SAFETY: All of it is this mapping, which is empty yet.
        unsafe { madvise(pages, length.get(), MmapAdvise::MADV_WIPEONFORK) }?;
        owner.word().store(1, Ordering::Relaxed);
        Ok(owner)
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: It is aligned, as a page is, and mapped as long as `self` is there, in a child as
        // well.
        unsafe { self.word.as_ref() }
    }

    /// Waits until no CPU finds by its TLB any more what somebody has unmapped before, or is
    /// unmapping and has told of already: the kernel takes care of that where it discards anything.
    pub fn settle(&self) {
        // SAFETY: It is the second page of the mapping, in which nothing is, and of which there is
        // no reference.
        let _ = unsafe {
            madvise(
                self.word.byte_add(self.page.get()).cast(),
                self.page.get(),
                MmapAdvise::MADV_DONTNEED,
            )
        };
    }

    /// Whether the calling process has made this.
    pub fn is_caller(&self) -> bool {
        self.word().load(Ordering::Relaxed) == 1
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: The mapping is of this, and nobody has a reference into it any more. A failure
        // leaks it.
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
        // SAFETY: The child only loads a word and ends.
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
