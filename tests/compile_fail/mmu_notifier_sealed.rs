// SPDX-License-Identifier: GPL-2.0

//! Which callbacks a notifier has is not for a driver to say: the traits that it implements say it.

use tether::mm::mmu_notifier::{
    Callbacks,
    MmuNotifier,
    Ranges,
    ReleaseOnly, //
};

/// It does not implement `InvalidateRanges`.
pub struct Listener;

impl MmuNotifier for Listener {
    type Callbacks = ReleaseOnly;
}

/// A combination that is there.
pub fn combination() -> impl Callbacks<Listener> {
    let _: Option<Ranges> = None;
    ReleaseOnly
}

impl Callbacks<Listener> for Ranges {} // misuse: E0277
