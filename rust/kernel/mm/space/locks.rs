// SPDX-License-Identifier: GPL-2.0

//! The `mmap_lock` and the locks of VMAs, taken without blocking for an unlimited time.

use super::wait_limit::{
    WaitLimit,
    DEFAULT_LIMIT, //
};
use crate::{
    bindings,
    mm::{
        virt::VmaRef,
        MmWithUser, //
    },
    prelude::*, //
};

/// The `mmap_lock` of an address space, locked for writing, and the locks of its VMAs.
pub(super) struct AllLocked<'a>(&'a MmWithUser);

impl<'a> AllLocked<'a> {
    /// Takes the `mmap_lock` for writing, and the lock of each VMA.
    ///
    /// `mm_take_all_locks()` cannot be killed, and holds a system-wide mutex. It does not wait for
    /// readers of VMAs, because their locks are taken here.
    pub(super) fn take(mm: &'a MmWithUser) -> Result<Self> {
        let wait = WaitLimit::new(Some(DEFAULT_LIMIT));
        // SAFETY: `mm` is valid. The function only compares the owner of the lock with the current
        // task.
        if unsafe { bindings::tether_mmap_is_write_locked_by_current(mm.as_raw()) } {
            return Err(EDEADLK);
        }
        if !wait.killable || wait.opening {
            // SAFETY: `mm` is valid.
            while !unsafe { bindings::tether_mmap_write_trylock(mm.as_raw()) } {
                wait.pause()?;
            }
        } else {
            // SAFETY: `mm` is valid, and the current task does not hold its lock for writing.
            let ret = unsafe { bindings::mmap_write_lock_killable(mm.as_raw()) };
            if ret != 0 {
                return Err(EINTR);
            }
        }
        let locked = Self(mm);
        let mut address = 0;
        loop {
            // SAFETY: `locked` holds the `mmap_lock`, which `find_vma()` requires.
            let vma = unsafe { bindings::find_vma(mm.as_raw(), address) };
            if vma.is_null() {
                return Ok(locked);
            }
            // A task that can be killed waits in `vma_start_write_killable()`. If this task is the
            // reader itself, only a signal ends that wait. Therefore it polls for a second first.
            //
            // SAFETY: The VMA is valid, as the `mmap_lock` is held for writing.
            while unsafe { bindings::tether_vma_has_readers(vma) }
                && (!wait.killable || wait.opening || wait.begun.elapsed().as_millis() < 1000)
            {
                wait.pause()?;
            }
            // SAFETY: The VMA is valid, and the `mmap_lock` is held for writing.
            if unsafe { bindings::vma_start_write_killable(vma) } != 0 {
                return Err(EINTR);
            }
            // SAFETY: The VMA is valid, as the `mmap_lock` is held for writing.
            address = unsafe { (*vma).__bindgen_anon_1.__bindgen_anon_1.vm_end };
        }
    }
}

impl Drop for AllLocked<'_> {
    fn drop(&mut self) {
        // SAFETY: `take()` has locked the `mmap_lock` for writing in this task. The unlock releases
        // the locks of the VMAs as well.
        unsafe { bindings::mmap_write_unlock(self.0.as_raw()) };
    }
}

/// The `mmap_lock` of an address space, locked for reading.
///
/// # Invariants
///
/// The task that owns this value has locked the `mmap_lock` for reading.
#[cfg_attr(not(CONFIG_HMM_MIRROR), allow(dead_code))]
pub(in crate::mm) struct ReadLocked<'a>(&'a MmWithUser);

#[cfg_attr(not(CONFIG_HMM_MIRROR), allow(dead_code))]
impl<'a> ReadLocked<'a> {
    /// Takes the lock, within the limit of `wait` if there is one.
    ///
    /// # Errors
    ///
    /// Those of [`WaitLimit::check`].
    pub(in crate::mm) fn take(mm: &'a MmWithUser, wait: &WaitLimit) -> Result<Self> {
        if wait.limit.is_none() {
            // SAFETY: `mm` is valid.
            if unsafe { bindings::mmap_read_lock_killable(mm.as_raw()) } != 0 {
                return Err(EINTR);
            }
        } else {
            // SAFETY: `mm` is valid.
            while !unsafe { bindings::mmap_read_trylock(mm.as_raw()) } {
                wait.pause()?;
            }
        }
        // INVARIANT: The current task has locked the `mmap_lock` above.
        Ok(Self(mm))
    }

    /// Returns the VMA that contains `address`, or otherwise the next VMA.
    pub(in crate::mm) fn find(&self, address: usize) -> Option<&VmaRef> {
        // SAFETY: By the type's invariants, the `mmap_lock` is held, which `find_vma()` requires.
        let vma = unsafe { bindings::find_vma(self.0.as_raw(), address) };
        // SAFETY: The VMA is valid, and does not change, while the `mmap_lock` is held.
        (!vma.is_null()).then(|| unsafe { VmaRef::from_raw(vma) })
    }

    /// Gives the value up without unlocking, after the kernel has released the lock.
    pub(in crate::mm) fn was_unlocked(self) {
        core::mem::forget(self);
    }
}

impl Drop for ReadLocked<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type's invariants, this task has locked the `mmap_lock` for reading.
        unsafe { bindings::mmap_read_unlock(self.0.as_raw()) };
    }
}
