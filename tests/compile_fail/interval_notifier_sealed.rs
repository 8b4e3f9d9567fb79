// SPDX-License-Identifier: GPL-2.0

//! In how many passes a notifier invalidates is not for a driver to say: the trait that it
//! implements says it.

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

/// It does not implement `Invalidate`.
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

/// Passes that are there.
pub fn passes() -> impl Passes<Listener> {
    let _: Option<OnePass> = None;
    TwoPasses
}

impl Passes<Listener> for OnePass {} // misuse: E0277
