// SPDX-License-Identifier: GPL-2.0

//! Facilities with callbacks that pin their owner, and the functions that the shared code calls.
//!
//! A *facility* is a part of the kernel that calls functions of a driver later, with Tether's
//! abstraction of it: task works, kernel threads, notifiers of address spaces. Only task works have
//! callbacks in lists of the kernel.
//!
//! Attachments are listed in the record of their owner. A pinned callback is in a list of the
//! kernel, which only its facility can search. The facility registers functions for this, so that
//! the shared code does not depend on any facility.

use super::Owner;
use crate::{
    fmt,
    prelude::*,
    sync::SetOnce, //
};

/// The functions of a facility with callbacks that pin their owner.
pub(crate) struct Facility {
    /// The name of a callback in messages, in the singular.
    pub(crate) kind: &'static str,
    /// Disarms the pending callbacks of an owner that is torn down although it is pinned, which
    /// happens after a failed init. Returns the number of callbacks that were disarmed. May sleep.
    pub(crate) disarm: fn(&'static Owner) -> usize,
    /// Ends the interruptible sleeps of the running callbacks of an owner. May sleep.
    pub(crate) interrupt: fn(&'static Owner),
    /// Writes a line for each pending or running callback, for `tether/outstanding`. May sleep.
    pub(crate) show: fn(&mut fmt::Formatter<'_>) -> fmt::Result,
}

/// The registered facilities, in the order of their registration. They are never unregistered.
static FACILITIES: [SetOnce<&'static Facility>; 4] = [const { SetOnce::new() }; 4];

impl Facility {
    /// Registers a facility. Called while Tether is initialised.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`] if there are too many facilities.
    pub(crate) fn register(&'static self) -> Result {
        if FACILITIES.iter().any(|place| place.populate(self)) {
            Ok(())
        } else {
            Err(ENOSPC)
        }
    }
}

/// Returns the registered facilities.
pub(super) fn all() -> impl Iterator<Item = &'static Facility> {
    FACILITIES.iter().filter_map(SetOnce::copy)
}
