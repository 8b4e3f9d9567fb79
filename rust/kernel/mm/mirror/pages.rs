// SPDX-License-Identifier: GPL-2.0

//! The pages in the table of a [`Mirror`](super::Mirror): reading and writing them.

use super::table::{
    Entry,
    Table, //
};
use crate::{
    alloc::Allocator,
    bindings,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::atomic::Atomic,
    tether::read_once, //
};

/// The pages of a [`Mirror`](super::Mirror), which are not invalidated meanwhile.
///
/// If the closure that has this value invalidates a page itself, for instance by
/// `VmaRef::zap_vma_range()`, it cannot access any page any more.
pub struct Pages<'a> {
    pub(super) table: &'a Table,
    pub(super) revoked: &'a Atomic<bool>,
}

impl Pages<'_> {
    /// Returns the page at `address`, if the table has it.
    #[inline]
    pub fn get(&self, address: usize) -> Option<Frame<'_>> {
        if read_once(self.revoked) {
            return None;
        }
        let entry = self.table.load(address >> PAGE_SHIFT)?;
        // INVARIANT: The entry is in the table, which is locked for the lifetime of `self`. Each
        // use of the frame checks `revoked` first.
        Some(Frame {
            entry,
            revoked: self.revoked,
        })
    }
}

/// A page of a process.
///
/// Other tasks may write to the page at the same time. Each byte that is read was in the page at
/// some time during the call.
///
/// # Invariants
///
/// `entry` is in the table, whose lock is held for `'a`. The page is mapped by the process unless
/// `revoked` is set.
pub struct Frame<'a> {
    entry: Entry,
    revoked: &'a Atomic<bool>,
}

impl Frame<'_> {
    /// Returns whether the page may be written.
    #[inline]
    pub fn is_writable(&self) -> bool {
        self.entry.0 & Entry::WRITABLE != 0
    }

    /// Returns whether the CPU has no access to the page; see
    /// [`Mirror::make_exclusive`](super::Mirror::make_exclusive).
    #[inline]
    pub fn is_exclusive(&self) -> bool {
        self.entry.is_exclusive()
    }

    /// Returns the page frame number.
    #[inline]
    pub fn number(&self) -> usize {
        self.entry.0 >> Entry::SHIFT
    }

    /// Checks that `length` bytes from `offset` are in the page, and that the page may be used.
    #[inline]
    fn check(&self, offset: usize, length: usize) -> Result {
        match offset.checked_add(length) {
            Some(end) if end <= PAGE_SIZE => {}
            _ => return Err(EINVAL),
        }
        if read_once(self.revoked) {
            return Err(EFAULT);
        }
        Ok(())
    }

    /// Reads `to.len()` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the bytes are not all in the page; [`EFAULT`] if the closure has invalidated a
    /// page.
    ///
    /// C: `memcpy_from_page()` in [`include/linux/highmem.h`](srctree/include/linux/highmem.h).
    #[doc(alias = "memcpy_from_page")]
    pub fn read(&self, offset: usize, to: &mut [u8]) -> Result {
        self.check(offset, to.len())?;
        // SAFETY: `check()` has shown that the bytes are in the page, and that `revoked` is not
        // set, so by the type's invariants the process has the page mapped. The slice is valid for
        // writes.
        unsafe {
            bindings::tether_copy_from_pfn(to.as_mut_ptr().cast(), self.number(), offset, to.len())
        };
        Ok(())
    }

    /// Appends the whole page to a vector, which must have spare capacity for it.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if the spare capacity is too small; [`EFAULT`] if the closure has invalidated a
    /// page.
    pub fn append_to<A: Allocator>(&self, to: &mut Vec<u8, A>) -> Result {
        let room = to.spare_capacity_mut();
        if room.len() < PAGE_SIZE {
            return Err(ENOMEM);
        }
        self.check(0, PAGE_SIZE)?;
        // SAFETY: `check()` has shown that `revoked` is not set, so by the type's invariants the
        // process has the page mapped. The spare capacity is at least a page.
        unsafe {
            bindings::tether_copy_from_pfn(room.as_mut_ptr().cast(), self.number(), 0, PAGE_SIZE)
        };
        // SAFETY: `PAGE_SIZE` bytes of the spare capacity were initialised above.
        unsafe { to.inc_len(PAGE_SIZE) };
        Ok(())
    }

    /// Writes `from` at `offset`, and marks the page as dirty.
    ///
    /// The page table entry may be clean after `MADV_FREE`, or if a shared page was only read.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the bytes are not all in the page; [`EPERM`] if the page must not be written;
    /// [`EFAULT`] if the closure has invalidated a page.
    ///
    /// C: `memcpy_to_page()` in [`include/linux/highmem.h`](srctree/include/linux/highmem.h).
    #[doc(alias = "memcpy_to_page")]
    pub fn write(&self, offset: usize, from: &[u8]) -> Result {
        self.check(offset, from.len())?;
        if !self.is_writable() {
            return Err(EPERM);
        }
        // SAFETY: `check()` has shown that the bytes are in the page, and that `revoked` is not
        // set, so by the type's invariants the process has the page mapped. It may be written, as
        // was checked above. The slice is valid for reads.
        unsafe {
            bindings::tether_copy_to_pfn(self.number(), offset, from.as_ptr().cast(), from.len())
        };
        // SAFETY: By the type's invariants, the process has the page mapped, as `revoked` is not
        // set.
        unsafe { bindings::tether_pfn_mark_dirty(self.number()) };
        Ok(())
    }
}
