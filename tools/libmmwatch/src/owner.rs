// SPDX-License-Identifier: GPL-2.0

//! Tells a process from its forked child.

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

/// Less than a page is a page.
const LENGTH: NonZeroUsize = NonZeroUsize::new(size_of::<AtomicU32>()).unwrap();

/// A word that is 1 for who has made this, and 0 for a forked child: it is in a page that a fork wipes.
pub struct Owner {
    word: NonNull<AtomicU32>,
}

// SAFETY: What it points to is an atomic in a mapping that goes by `drop` only, in whatever thread.
unsafe impl Send for Owner {}
// SAFETY: As above.
unsafe impl Sync for Owner {}

impl Owner {
    pub fn new() -> io::Result<Self> {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: A new mapping, where nothing is.
        let page = unsafe { mmap_anonymous(None, LENGTH, protection, MapFlags::MAP_PRIVATE) }?;
        let owner = Self { word: page.cast() };
        // SAFETY: All of it is this mapping, which is empty yet.
        unsafe { madvise(page, LENGTH.get(), MmapAdvise::MADV_WIPEONFORK) }?;
        owner.word().store(1, Ordering::Relaxed);
        Ok(owner)
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: It is aligned, as a page is, and mapped as long as `self` is there, in a child as well.
        unsafe { self.word.as_ref() }
    }

    /// Whether the calling process has made this.
    pub fn is_caller(&self) -> bool {
        self.word().load(Ordering::Relaxed) == 1
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: The mapping is of this, and nobody has a reference into it any more. A failure leaks it.
        let _ = unsafe { munmap(self.word.cast(), LENGTH.get()) };
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
        assert!(owner.is_caller());
    }
}
