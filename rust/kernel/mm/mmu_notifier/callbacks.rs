// SPDX-License-Identifier: GPL-2.0

//! The traits of an [`MmuNotifier`](super::MmuNotifier)'s callbacks, and their combinations.

use super::MmuNotifierRange;
use crate::{
    mm::Mm,
    prelude::*, //
};
use core::marker::PhantomData;

/// No callback but [`MmuNotifier::release`](super::MmuNotifier::release).
pub struct ReleaseOnly;
/// The callbacks of [`InvalidateRanges`].
pub struct Ranges;
/// The callbacks of [`TryInvalidateRanges`].
pub struct TryRanges;
/// The callback of [`InvalidateSecondaryTlbs`].
pub struct SecondaryTlbs;
/// The callbacks of [`Age`], and those of the combination `C`.
pub struct WithAge<C>(PhantomData<C>);

/// Callbacks before and after the pages of a range change, which cannot fail.
///
/// # Context
///
/// Any task that changes the address space calls both functions, with locks of the memory
/// management held; several calls may run at once. They must not sleep, because the range may not
/// be blockable, for instance if the OOM killer reaps a process. A kernel with `DEBUG_ATOMIC_SLEEP`
/// warns if they sleep. They must not wait for memory either. This includes waiting for a lock
/// whose holder allocates with `GFP_KERNEL`, which lockdep reports.
#[vtable]
pub trait InvalidateRanges {
    /// Handles that pages in `range` are about to change. Must not sleep.
    fn invalidate_range_start(&self, _range: &MmuNotifierRange<'_>) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Handles that pages in `range` have changed. Must not sleep.
    ///
    /// Called at most once for each call of [`InvalidateRanges::invalidate_range_start`], and not
    /// at all if the notifier was removed meanwhile.
    fn invalidate_range_end(&self, _range: &MmuNotifierRange<'_>) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }
}

/// The error of a callback that would have to sleep, but must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WouldSleep;

/// Callbacks before the pages of a range change, which may ask for a retry if they must not sleep.
///
/// There is no callback after the change.
///
/// # Context
///
/// As for [`InvalidateRanges`], except that [`TryInvalidateRanges::invalidate_range`] may sleep.
pub trait TryInvalidateRanges {
    /// Handles that pages in `range`, which is blockable, are about to change. May sleep.
    fn invalidate_range(&self, range: &MmuNotifierRange<'_>);

    /// Handles that pages in `range`, which is not blockable, are about to change. Must not sleep.
    ///
    /// # Errors
    ///
    /// [`WouldSleep`]: the kernel skips this range for now, or tries again (`-EAGAIN`).
    fn try_invalidate_range(
        &self,
        range: &MmuNotifierRange<'_>,
    ) -> core::result::Result<(), WouldSleep>;
}

/// The callback for the TLB of a device that uses the CPU's page tables.
pub trait InvalidateSecondaryTlbs {
    /// Flushes the translations from `start` to `end`.
    ///
    /// # Context
    ///
    /// Called with a spinlock of the page tables held; several calls may run at once. Must not
    /// sleep.
    fn invalidate_secondary_tlbs(&self, mm: &Mm, start: usize, end: usize);
}

/// Callbacks that report and clear the accessed bits of secondary page tables.
///
/// # Context
///
/// Called with spinlocks of the page tables held. Must not sleep.
pub trait Age {
    /// Returns whether a page from `start` to `end` was used since the last call.
    ///
    /// Clears the accessed bits, and flushes the translations of these pages.
    fn clear_flush_young(&self, mm: &Mm, start: usize, end: usize) -> bool;

    /// As [`Age::clear_flush_young`], but the translations need not be flushed.
    fn clear_young(&self, mm: &Mm, start: usize, end: usize) -> bool;

    /// Returns whether the page at `address` was used.
    fn test_young(&self, mm: &Mm, address: usize) -> bool;
}
