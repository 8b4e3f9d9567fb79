// SPDX-License-Identifier: GPL-2.0

//! The traits of an [`MmuNotifier`](super::MmuNotifier)'s callbacks, and their combinations.

use super::Range;
use crate::{
    mm::Mm,
    prelude::*, //
};
use core::marker::PhantomData;

/// Nothing but [`MmuNotifier::release`](super::MmuNotifier::release).
pub struct ReleaseOnly;
/// [`InvalidateRanges`].
pub struct Ranges;
/// [`TryInvalidateRanges`].
pub struct TryRanges;
/// [`InvalidateSecondaryTlbs`].
pub struct SecondaryTlbs;
/// [`Age`], and what `C` stands for.
pub struct WithAge<C>(PhantomData<C>);

/// Hears of ranges, and cannot object.
///
/// # Context
///
/// Both are called with locks of the memory management held, by any task that changes the address
/// space, and several times at once. They must not sleep: the range may not be blockable, as when
/// the OOM killer reaps a process. (A kernel with `DEBUG_ATOMIC_SLEEP` says so if they do.) Nor may
/// they wait for memory, also where a lock that they take is held elsewhere: `GFP_KERNEL` is
/// reported by lockdep.
#[vtable]
pub trait InvalidateRanges {
    /// Pages in `range` are about to change. Must not sleep.
    fn invalidate_range_start(&self, _range: &Range<'_>) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Pages in `range` have changed. Must not sleep. Called once for each
    /// [`InvalidateRanges::invalidate_range_start`] on which this was registered already.
    fn invalidate_range_end(&self, _range: &Range<'_>) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }
}

/// A callback that must not sleep would have to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WouldSleep;

/// Hears of ranges before they change, and may ask for a retry where it must not sleep. It does not
/// hear of the end.
///
/// # Context
///
/// As [`InvalidateRanges`], but for what each says of sleeping.
pub trait TryInvalidateRanges {
    /// Pages in `range`, which is blockable, are about to change. May sleep.
    fn invalidate_range(&self, range: &Range<'_>);

    /// Pages in `range`, which is not blockable, are about to change. Must not sleep.
    ///
    /// # Errors
    ///
    /// [`WouldSleep`]: the caller in the kernel does without this range for now, or tries again
    /// (`-EAGAIN`).
    fn try_invalidate_range(&self, range: &Range<'_>) -> core::result::Result<(), WouldSleep>;
}

/// Keeps a TLB of a device that uses the CPU's page tables.
pub trait InvalidateSecondaryTlbs {
    /// Translations from `start` to `end` are to be forgotten.
    ///
    /// Called under a spinlock of the page tables, several times at once. Must not sleep.
    fn invalidate_secondary_tlbs(&self, mm: &Mm, start: usize, end: usize);
}

/// Reports and clears the accessed bits of secondary page tables.
///
/// Called under spinlocks of the page tables. None of these may sleep.
pub trait Age {
    /// Whether a page from `start` to `end` was used since this was last asked; it is not used by
    /// way of old translations from then on. They are forgotten.
    fn clear_flush_young(&self, mm: &Mm, start: usize, end: usize) -> bool;

    /// As [`Age::clear_flush_young`], but old translations may go on being used.
    fn clear_young(&self, mm: &Mm, start: usize, end: usize) -> bool;

    /// Whether the page at `address` was used.
    fn test_young(&self, mm: &Mm, address: usize) -> bool;
}
