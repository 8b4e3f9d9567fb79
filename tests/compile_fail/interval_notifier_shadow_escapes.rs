// SPDX-License-Identifier: GPL-2.0

//! The shadow of a range is only accessible under the lock that invalidations acquire.

use tether::mm::mmu_interval_notifier::{
    MmuIntervalNotifier,
    Registration, //
};

/// Tries to keep a reference to the shadow after the lock is released.
pub fn keep<T: MmuIntervalNotifier>(registration: &Registration<T>) {
    let mut kept = None;
    registration.shadow().with(|shadow| {
        let _ = &shadow;
        kept = Some(shadow); // misuse: E0521
    });
    let _: Option<&mut T::Shadow> = kept;
}
