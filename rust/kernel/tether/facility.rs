// SPDX-License-Identifier: GPL-2.0

//! The facilities whose callbacks pin their owner, as this library sees them.
//!
//! Attachments are listed in the record of their owner. A pinned callback is in a list of the
//! kernel's, which only its facility can search. The facility registers functions for that, so that
//! nothing here depends on a facility.

use super::Owner;
use crate::{
    fmt,
    prelude::*,
    sync::SetOnce, //
};

/// The functions of a facility whose callbacks pin their owner.
pub(crate) struct Facility {
    /// The name of a callback in messages, in the singular.
    pub(crate) kind: &'static str,
    /// Disarms the pending callbacks of an owner that is removed although it is pinned, which
    /// happens after its init has failed, and returns their number. May sleep.
    pub(crate) disarm: fn(&'static Owner) -> usize,
    /// Ends interruptible sleeps of the running callbacks of an owner. May sleep.
    pub(crate) interrupt: fn(&'static Owner),
    /// Writes a line for each pending or running callback, for `tether/outstanding`. May sleep.
    pub(crate) show: fn(&mut fmt::Formatter<'_>) -> fmt::Result,
}

/// The registered facilities, from the first place on. Facilities are never unregistered.
static FACILITIES: [SetOnce<&'static Facility>; 4] = [const { SetOnce::new() }; 4];

impl Facility {
    /// Registers a facility, while Tether is initialised.
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
