// SPDX-License-Identifier: GPL-2.0

//! A notifier is registered on an address space that has users: the kernel has a BUG for one
//! without.

use kernel::prelude::*;
use tether::mm::{
    mmu_notifier::{
        MmuNotifier,
        Registration, //
    },
    Mm,
    MmWithUser, //
};

/// Registers two.
pub fn register<T: MmuNotifier>(user: &MmWithUser, mm: &Mm, one: T, other: T) -> Result {
    drop(KBox::pin_init(Registration::new(user, one), GFP_KERNEL)?);
    drop(KBox::pin_init(Registration::new(mm, other), GFP_KERNEL)?); // misuse: E0308
    drop(mm.mmget_not_zero());
    Ok(())
}
