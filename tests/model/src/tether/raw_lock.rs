// SPDX-License-Identifier: GPL-2.0

//! A stand-in for `rust/kernel/tether/raw_lock.rs`: a mutex, because interrupts are not modelled.

use crate::{
    bindings,
    prelude::*, //
};
use loom::sync::{
    Mutex,
    MutexGuard, //
};

/// As in `rust/kernel/tether/raw_lock.rs`.
pub struct RawLock<T>(Mutex<T>);

/// As in `rust/kernel/tether/raw_lock.rs`.
pub type RawGuard<'a, T> = MutexGuard<'a, T>;

impl<T> RawLock<T> {
    /// As in `rust/kernel/tether/raw_lock.rs`.
    ///
    /// # Safety
    ///
    /// The model has no requirements.
    pub unsafe fn new(
        data: T,
        _init: unsafe extern "C" fn(*mut bindings::raw_spinlock_t),
    ) -> impl PinInit<Self> {
        Init(move |slot: *mut Self| {
            // SAFETY: The caller of `init()` guarantees that the slot is valid for writes.
            unsafe { slot.write(Self(Mutex::new(data))) };
        })
    }

    /// As in `rust/kernel/tether/raw_lock.rs`.
    pub fn lock(&self) -> RawGuard<'_, T> {
        self.0.lock().unwrap()
    }
}
