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

/// The pages of a [`Mirror`](super::Mirror), while nothing is invalidated.
///
/// If the closure that has these invalidates a page itself, as by `VmaRef::zap_vma_range()`, all of
/// them are gone for it.
pub struct Pages<'a> {
    pub(super) table: &'a Table,
    pub(super) revoked: &'a Atomic<bool>,
}

impl Pages<'_> {
    /// The page at `address`, if it is in the table.
    #[inline]
    pub fn get(&self, address: usize) -> Option<Frame<'_>> {
        if read_once(self.revoked) {
            return None;
        }
        let entry = self.table.load(address >> PAGE_SHIFT)?;
        // INVARIANT: It is in the table. Whether it was revoked is looked at before it is used.
        Some(Frame {
            entry,
            revoked: self.revoked,
        })
    }
}

/// A page of a process.
///
/// Other tasks may write to the page meanwhile: each byte that is read was there at some time.
///
/// # Invariants
///
/// It is in the table, whose lock is held for `'a`: unless it is `revoked`, the page is the
/// process's.
pub struct Frame<'a> {
    entry: Entry,
    revoked: &'a Atomic<bool>,
}

impl Frame<'_> {
    /// Whether it may be written.
    #[inline]
    pub fn is_writable(&self) -> bool {
        self.entry.0 & Entry::WRITABLE != 0
    }

    /// Whether the CPU has no access to it; see
    /// [`Mirror::make_exclusive`](super::Mirror::make_exclusive).
    #[inline]
    pub fn is_exclusive(&self) -> bool {
        self.entry.0 & Entry::EXCLUSIVE != 0
    }

    /// The number of the page's frame.
    #[inline]
    pub fn number(&self) -> usize {
        self.entry.0 >> Entry::SHIFT
    }

    /// Whether so many bytes from `offset` are in the page, and it may be used.
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

    /// Reads what is at `offset`.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if it goes beyond the page; [`EFAULT`] if the closure has invalidated a page.
    ///
    /// C: `memcpy_from_page()` in [`include/linux/highmem.h`](srctree/include/linux/highmem.h).
    #[doc(alias = "memcpy_from_page")]
    pub fn read(&self, offset: usize, to: &mut [u8]) -> Result {
        self.check(offset, to.len())?;
        // SAFETY: The page is valid, by the type's invariants, and the slice for writes.
        unsafe {
            bindings::tether_copy_from_pfn(to.as_mut_ptr().cast(), self.number(), offset, to.len())
        };
        Ok(())
    }

    /// Appends all of the page. No memory is allocated: the vector must have room for it.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if it has not; [`EFAULT`] if the closure has invalidated a page.
    pub fn append_to<A: Allocator>(&self, to: &mut Vec<u8, A>) -> Result {
        let room = to.spare_capacity_mut();
        if room.len() < PAGE_SIZE {
            return Err(ENOMEM);
        }
        self.check(0, PAGE_SIZE)?;
        // SAFETY: The page is valid, by the type's invariants, and there is room for it.
        unsafe {
            bindings::tether_copy_from_pfn(room.as_mut_ptr().cast(), self.number(), 0, PAGE_SIZE)
        };
        // SAFETY: So much was just written.
        unsafe { to.inc_len(PAGE_SIZE) };
        Ok(())
    }

    /// Writes at `offset`, and marks the page as dirty: its page table entry may be clean, after
    /// `MADV_FREE` or if a shared page was only read.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if it goes beyond the page, [`EPERM`] if that may not be written; [`EFAULT`] if
    /// the closure has invalidated a page.
    ///
    /// C: `memcpy_to_page()` in [`include/linux/highmem.h`](srctree/include/linux/highmem.h).
    #[doc(alias = "memcpy_to_page")]
    pub fn write(&self, offset: usize, from: &[u8]) -> Result {
        self.check(offset, from.len())?;
        if !self.is_writable() {
            return Err(EPERM);
        }
        // SAFETY: The page is valid and may be written, by the type's invariants, and the slice is
        // valid.
        unsafe {
            bindings::tether_copy_to_pfn(self.number(), offset, from.as_ptr().cast(), from.len())
        };
        // SAFETY: The process has the page mapped: it is in the table, and the table is locked.
        unsafe { bindings::tether_pfn_mark_dirty(self.number()) };
        Ok(())
    }
}
