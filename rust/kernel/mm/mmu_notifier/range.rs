// SPDX-License-Identifier: GPL-2.0

//! Ranges that are invalidated, and the events that invalidate them.

use crate::{
    bindings,
    mm::Mm,
    prelude::*, //
};
use core::marker::PhantomData;

/// The reason why a range is invalidated.
///
/// C: `enum mmu_notifier_event` in
/// [`include/linux/mmu_notifier.h`](srctree/include/linux/mmu_notifier.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The range is unmapped by `munmap()`, or moved by `mremap()`.
    Unmap,
    /// Page table entries are cleared, for instance by `madvise()` or reclaim, or to replace a
    /// page.
    Clear,
    /// The protection of the mapping changes, by `mprotect()`.
    ProtectionVma,
    /// The protection of single pages changes; the page tables show it after the invalidation.
    ProtectionPage,
    /// Soft-dirty tracking; the pages stay mapped.
    SoftDirty,
    /// The address space ends (interval notifiers only).
    Release,
    /// Pages are collected for migration to or from a device.
    Migrate,
    /// Pages become exclusive to a device.
    Exclusive,
    /// An event that this version does not know; treat it as [`Event::Clear`].
    Other(u32),
}

impl Event {
    fn from_raw(event: bindings::mmu_notifier_event) -> Self {
        match event {
            bindings::mmu_notifier_event_MMU_NOTIFY_UNMAP => Event::Unmap,
            bindings::mmu_notifier_event_MMU_NOTIFY_CLEAR => Event::Clear,
            bindings::mmu_notifier_event_MMU_NOTIFY_PROTECTION_VMA => Event::ProtectionVma,
            bindings::mmu_notifier_event_MMU_NOTIFY_PROTECTION_PAGE => Event::ProtectionPage,
            bindings::mmu_notifier_event_MMU_NOTIFY_SOFT_DIRTY => Event::SoftDirty,
            bindings::mmu_notifier_event_MMU_NOTIFY_RELEASE => Event::Release,
            bindings::mmu_notifier_event_MMU_NOTIFY_MIGRATE => Event::Migrate,
            bindings::mmu_notifier_event_MMU_NOTIFY_EXCLUSIVE => Event::Exclusive,
            other => Event::Other(other),
        }
    }
}

/// A range that is invalidated.
///
/// # Invariants
///
/// `range` is valid for `'a`.
pub struct MmuNotifierRange<'a> {
    range: *const bindings::mmu_notifier_range,
    _range: PhantomData<&'a bindings::mmu_notifier_range>,
}

impl<'a> MmuNotifierRange<'a> {
    /// Creates a `MmuNotifierRange` from the kernel's range.
    ///
    /// # Safety
    ///
    /// `range` must be valid for `'a`.
    pub(in crate::mm) unsafe fn from_raw(range: *const bindings::mmu_notifier_range) -> Self {
        // INVARIANT: The caller guarantees that `range` is valid for `'a`.
        Self {
            range,
            _range: PhantomData,
        }
    }

    fn raw(&self) -> &'a bindings::mmu_notifier_range {
        // SAFETY: By the type's invariants, `range` is valid for `'a`.
        unsafe { &*self.range }
    }

    /// Returns the first address.
    #[inline]
    pub fn start(&self) -> usize {
        self.raw().start
    }

    /// Returns the address after the last one.
    #[inline]
    pub fn end(&self) -> usize {
        self.raw().end
    }

    /// Returns the reason of the invalidation.
    #[inline]
    pub fn event(&self) -> Event {
        Event::from_raw(self.raw().event)
    }

    /// Returns the owner pointer that the invalidating driver has passed to the kernel, or null.
    ///
    /// A driver compares it with its own pointer to recognise invalidations that it causes itself
    /// ([`Event::Migrate`], [`Event::Exclusive`]). It must not be dereferenced.
    #[inline]
    pub fn owner(&self) -> *const c_void {
        self.raw().owner
    }

    /// Returns whether the callback may sleep (`mmu_notifier_range_blockable()`).
    #[inline]
    pub fn is_blockable(&self) -> bool {
        self.raw().flags & bindings::MMU_NOTIFIER_RANGE_BLOCKABLE != 0
    }

    /// Returns the address space.
    #[inline]
    pub fn mm(&self) -> &'a Mm {
        // SAFETY: By the type's invariants, the range is valid for `'a`. The kernel keeps its
        // address space valid for as long.
        unsafe { Mm::from_raw(self.raw().mm) }
    }
}
