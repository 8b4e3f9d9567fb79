// SPDX-License-Identifier: GPL-2.0

//! A notifier is called by several tasks at once.

use core::cell::Cell;
use tether::mm::mmu_notifier::{
    MmuNotifier,
    ReleaseOnly, //
};

/// One that has what it has.
pub struct Notifier<T>(pub T);

/// Takes any notifier.
pub fn take<T: MmuNotifier>(_: T) {}

impl<T: Send + Sync + 'static> MmuNotifier for Notifier<T> {
    type Callbacks = ReleaseOnly;
}

/// Takes two.
pub fn take_two() {
    take(Notifier(1));
    take(Notifier(Cell::new(1))); // misuse: E0277
}
