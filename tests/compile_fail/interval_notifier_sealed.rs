// SPDX-License-Identifier: GPL-2.0

//! A driver cannot implement `Passes` itself: the number of passes follows from the trait that the
//! notifier implements.

use tether::mm::{
    interval_notifier::{
        IntervalNotifier,
        InvalidateInTwoPasses,
        OnePass,
        Passes,
        Shadow,
        TwoPasses, //
    },
    mmu_notifier::{
        Range,
        WouldSleep, //
    },
};

/// Implements `InvalidateInTwoPasses`, but not `Invalidate`.
pub struct Listener;

impl IntervalNotifier for Listener {
    type Shadow = ();
    type Passes = TwoPasses;

    fn try_invalidate(&self, _: &Range<'_>, _: &mut ()) -> Result<(), WouldSleep> {
        Err(WouldSleep)
    }
}

impl InvalidateInTwoPasses for Listener {
    type Begun = ();

    fn begin(&self, _: &Range<'_>, _: &mut ()) -> Option<()> {
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
