// SPDX-License-Identifier: GPL-2.0

//! Who may refuse a range does not hear of its end: nobody tells it which of them it has refused.

use tether::mm::mmu_notifier::{
    Range,
    TryInvalidateRanges,
    WouldSleep, //
};

/// Refuses all.
pub struct Notifier;

impl TryInvalidateRanges for Notifier {
    fn invalidate_range(&self, _range: &Range<'_>) {}
    fn try_invalidate_range(&self, _range: &Range<'_>) -> Result<(), WouldSleep> {
        Err(WouldSleep)
    }
    fn invalidate_range_end(&self, _range: &Range<'_>) {} // misuse: E0407
}
