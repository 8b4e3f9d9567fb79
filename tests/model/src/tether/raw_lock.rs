// SPDX-License-Identifier: GPL-2.0

//! A stand-in for `rust/kernel/tether/raw_lock.rs`: a mutex, as interrupts are not modelled.

use crate::{
    bindings,
    prelude::*, //
};
use loom::sync::{
    Mutex,
    MutexGuard, //
};

/// As in the library.
pub struct RawLock<T>(Mutex<T>);

/// As in the library.
pub type RawGuard<'a, T> = MutexGuard<'a, T>;

impl<T> RawLock<T> {
    /// As in the library.
    ///
    /// # Safety
    ///
    /// None is needed here.
    pub unsafe fn new(
        data: T,
        _init: unsafe extern "C" fn(*mut bindings::raw_spinlock_t),
    ) -> impl PinInit<Self> {
        Init(move |slot: *mut Self| {
            // SAFETY: The slot is valid for writes.
            unsafe { slot.write(Self(Mutex::new(data))) };
        })
    }

    /// As in the library.
    pub fn lock(&self) -> RawGuard<'_, T> {
        self.0.lock().unwrap()
    }
}
