// SPDX-License-Identifier: GPL-2.0

//! A notifier that may refuse a range has no `invalidate_range_end()`: the kernel would call it for
//! refused ranges as well.

use tether::mm::mmu_notifier::{
    MmuNotifierRange,
    TryInvalidateRanges,
    WouldSleep, //
};

/// Refuses all ranges.
pub struct Notifier;

impl TryInvalidateRanges for Notifier {
    fn invalidate_range(&self, _range: &MmuNotifierRange<'_>) {}
    fn try_invalidate_range(&self, _range: &MmuNotifierRange<'_>) -> Result<(), WouldSleep> {
        Err(WouldSleep)
    }
    fn invalidate_range_end(&self, _range: &MmuNotifierRange<'_>) {} // misuse: E0407
}
