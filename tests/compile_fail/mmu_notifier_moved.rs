// SPDX-License-Identifier: GPL-2.0

//! The kernel's lists go through a registration: it does not move.

use kernel::prelude::*;
use tether::mm::{
    mmu_notifier::{
        MmuNotifier,
        Registration, //
    },
    Mm, //
};

/// Moves one.
pub fn take_out<T: MmuNotifier>(registration: Pin<KBox<Registration<T>>>, mm: &Mm) -> bool {
    let same = registration.is_on(mm);
    drop(Pin::into_inner(registration)); // misuse: E0277
    same
}
