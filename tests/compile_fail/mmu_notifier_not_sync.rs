// SPDX-License-Identifier: GPL-2.0

//! A notifier must be `Sync`, because several tasks may call it concurrently.

use core::cell::Cell;
use tether::mm::mmu_notifier::{
    MmuNotifier,
    ReleaseOnly, //
};

/// Is `Sync` if its field is.
pub struct Notifier<T>(pub T);

/// Accepts any notifier.
pub fn take<T: MmuNotifier>(_: T) {}

impl<T: Send + Sync + 'static> MmuNotifier for Notifier<T> {
    type Callbacks = ReleaseOnly;
}

/// Passes a notifier that is `Sync`, and a notifier that is not.
pub fn take_two() {
    take(Notifier(1));
    take(Notifier(Cell::new(1))); // misuse: E0277
}
