// SPDX-License-Identifier: GPL-2.0

//! A driver cannot implement `Callbacks` itself: the callbacks of a notifier follow from the traits
//! that the notifier implements.

use tether::mm::mmu_notifier::{
    Callbacks,
    MmuNotifier,
    Ranges,
    ReleaseOnly, //
};

/// Does not implement `InvalidateRanges`.
pub struct Listener;

impl MmuNotifier for Listener {
    type Callbacks = ReleaseOnly;
}

/// Returns the callbacks that `Listener` has.
pub fn combination() -> impl Callbacks<Listener> {
    let _: Option<Ranges> = None;
    ReleaseOnly
}

impl Callbacks<Listener> for Ranges {} // misuse: E0277
