// SPDX-License-Identifier: GPL-2.0

//! A notifier is registered with a reference to `mm_users`: `__mmu_notifier_register()` has a
//! `BUG_ON()` for an address space without users.

use kernel::prelude::*;
use tether::mm::{
    mmu_notifier::{
        MmuNotifier,
        Registration, //
    },
    Mm,
    MmWithUser, //
};

/// Registers a notifier with an `MmWithUser`, and tries the same with an `Mm`.
pub fn register<T: MmuNotifier>(user: &MmWithUser, mm: &Mm, one: T, other: T) -> Result {
    drop(KBox::pin_init(Registration::new(user, one), GFP_KERNEL)?);
    drop(KBox::pin_init(Registration::new(mm, other), GFP_KERNEL)?); // misuse: E0308
    drop(mm.mmget_not_zero());
    Ok(())
}
