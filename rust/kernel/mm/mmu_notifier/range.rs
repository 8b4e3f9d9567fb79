// SPDX-License-Identifier: GPL-2.0

//! Ranges that are invalidated, and the events that invalidate them.

use crate::{
    bindings,
    mm::Mm,
    prelude::*, //
};
use core::marker::PhantomData;

/// Why a range is invalidated.
///
/// C: `enum mmu_notifier_event` in
/// [`include/linux/mmu_notifier.h`](srctree/include/linux/mmu_notifier.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It is unmapped, by `munmap()`, or moved, by `mremap()`.
    Unmap,
    /// Page table entries are cleared, for many reasons: `madvise()`, reclaim, replacing a page.
    Clear,
    /// The protection of the mapping changes, by `mprotect()`.
    ProtectionVma,
    /// The protection of single pages changes: look at the page tables afterwards.
    ProtectionPage,
    /// Soft-dirty tracking: the pages stay.
    SoftDirty,
    /// The address space ends (interval notifiers only).
    Release,
    /// Pages are collected for migration to or from a device.
    Migrate,
    /// Pages become exclusive to a device.
    Exclusive,
    /// One that this version does not know; treat it as [`Event::Clear`].
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
pub struct Range<'a> {
    range: *const bindings::mmu_notifier_range,
    _range: PhantomData<&'a bindings::mmu_notifier_range>,
}

impl<'a> Range<'a> {
    /// # Safety
    ///
    /// `range` must be valid for `'a`.
    pub(in crate::mm) unsafe fn from_raw(range: *const bindings::mmu_notifier_range) -> Self {
        // INVARIANT: By the function's contract.
        Self {
            range,
            _range: PhantomData,
        }
    }

    fn raw(&self) -> &'a bindings::mmu_notifier_range {
        // SAFETY: By the type's invariants.
        unsafe { &*self.range }
    }

    /// The first address.
    #[inline]
    pub fn start(&self) -> usize {
        self.raw().start
    }

    /// The address after the last one.
    #[inline]
    pub fn end(&self) -> usize {
        self.raw().end
    }

    /// Why.
    #[inline]
    pub fn event(&self) -> Event {
        Event::from_raw(self.raw().event)
    }

    /// Who invalidates, for those who want to know their own doing ([`Event::Migrate`],
    /// [`Event::Exclusive`]): what was passed to the kernel as the owner, or null. It is only to be
    /// compared.
    #[inline]
    pub fn owner(&self) -> *const c_void {
        self.raw().owner
    }

    /// Whether the callback may sleep (`mmu_notifier_range_blockable()`).
    #[inline]
    pub fn is_blockable(&self) -> bool {
        self.raw().flags & bindings::MMU_NOTIFIER_RANGE_BLOCKABLE != 0
    }

    /// The address space.
    #[inline]
    pub fn mm(&self) -> &'a Mm {
        // SAFETY: The range is of a valid address space, for as long as the range is valid.
        unsafe { Mm::from_raw(self.raw().mm) }
    }
}
