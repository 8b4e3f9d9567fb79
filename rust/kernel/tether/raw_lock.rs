// SPDX-License-Identifier: GPL-2.0

//! A spinlock that may be taken in any context but NMI.
//!
//! Interrupts are disabled while it is held. On a kernel with `PREEMPT_RT`, where other spinlocks
//! sleep, this one does not. The kernel crate has no such lock.
//!
//! C header: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h)

use crate::{
    bindings,
    prelude::*,
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};
use core::{
    cell::UnsafeCell,
    ops::{
        Deref,
        DerefMut, //
    }, //
};

/// A raw spinlock around a value.
///
/// # Invariants
///
/// `lock` is initialised, and `data` is only accessed while it is held.
#[pin_data]
pub(crate) struct RawLock<T> {
    #[pin]
    lock: Opaque<bindings::raw_spinlock_t>,
    data: UnsafeCell<T>,
}

// SAFETY: The lock hands `T` from one thread to another, one at a time.
unsafe impl<T: Send> Send for RawLock<T> {}
// SAFETY: A shared reference gives access to `T` under the lock only, one thread at a time.
unsafe impl<T: Send> Sync for RawLock<T> {}

impl<T> RawLock<T> {
    /// Creates a lock around `data`, which `init` initialises. Each `init` has a lock class of its
    /// own.
    ///
    /// # Safety
    ///
    /// `init` must be a function that initialises a `raw_spinlock_t`.
    pub(crate) unsafe fn new(
        data: T,
        init: unsafe extern "C" fn(*mut bindings::raw_spinlock_t),
    ) -> impl PinInit<Self> {
        // INVARIANT: `init` initialises the lock, by the function's contract.
        pin_init!(Self {
            lock <- Opaque::ffi_init(move |slot: *mut bindings::raw_spinlock_t| {
                // SAFETY: `slot` is valid for writes, and pinned.
                unsafe { init(slot) };
            }),
            data: UnsafeCell::new(data),
        })
    }

    /// Takes the lock, and disables interrupts until the guard is dropped.
    pub(crate) fn lock(&self) -> RawGuard<'_, T> {
        // INVARIANT: The lock is held, with these flags.
        //
        // SAFETY: The lock is initialised by the type's invariants. The guard releases it.
        let flags = unsafe { bindings::tether_raw_lock(self.lock.get()) };
        RawGuard {
            lock: self,
            flags,
            _not_send: NotThreadSafe,
        }
    }
}

/// Holds a [`RawLock`].
///
/// # Invariants
///
/// The lock is held by this CPU, and was taken with these flags.
pub(crate) struct RawGuard<'a, T> {
    lock: &'a RawLock<T>,
    flags: c_ulong,
    _not_send: NotThreadSafe,
}

impl<T> Deref for RawGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The lock is held, by the type's invariants.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> DerefMut for RawGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: The lock is held, by the type's invariants, and the guard is borrowed mutably.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T> Drop for RawGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The lock is held and was taken with these flags, by the type's invariants.
        unsafe { bindings::tether_raw_unlock(self.lock.lock.get(), self.flags) };
    }
}
