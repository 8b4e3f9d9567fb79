// SPDX-License-Identifier: GPL-2.0

//! A driver cannot implement `Passes` itself: the number of passes follows from the trait that the
//! notifier implements.

use tether::mm::{
    mmu_interval_notifier::{
        InvalidateInTwoPasses,
        MmuIntervalNotifier,
        OnePass,
        Passes,
        Shadow,
        TwoPasses, //
    },
    mmu_notifier::{
        MmuNotifierRange,
        WouldSleep, //
    },
};

/// Implements `InvalidateInTwoPasses`, but not `Invalidate`.
pub struct Listener;

impl MmuIntervalNotifier for Listener {
    type Shadow = ();
    type Passes = TwoPasses;

    fn try_invalidate(&self, _: &MmuNotifierRange<'_>, _: &mut ()) -> Result<(), WouldSleep> {
        Err(WouldSleep)
    }
}

impl InvalidateInTwoPasses for Listener {
    type Begun = ();

    fn begin(&self, _: &MmuNotifierRange<'_>, _: &mut ()) -> Option<()> {
        None
    }

    fn finish(&self, _: (), _: &Shadow<()>) {}
}

/// Returns the passes that `Listener` has.
pub fn passes() -> impl Passes<Listener> {
    let _: Option<OnePass> = None;
    TwoPasses
}

impl Passes<Listener> for OnePass {} // misuse: E0277
