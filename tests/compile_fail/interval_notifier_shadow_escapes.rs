// SPDX-License-Identifier: GPL-2.0

//! What is noted of a range is only looked at under the lock that invalidations take.

use tether::mm::interval_notifier::{
    IntervalNotifier,
    Registration, //
};

/// Looks at it, and keeps it.
pub fn keep<T: IntervalNotifier>(registration: &Registration<T>) {
    let mut kept = None;
    registration.shadow().with(|shadow| {
        let _ = &shadow;
        kept = Some(shadow); // misuse: E0521
    });
    let _: Option<&mut T::Shadow> = kept;
}
