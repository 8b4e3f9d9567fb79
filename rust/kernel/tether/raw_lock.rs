// SPDX-License-Identifier: GPL-2.0

//! A spinlock that may be taken in any context but NMI.
//!
//! Interrupts are disabled while the lock is held. On a kernel with `PREEMPT_RT`, where a
//! `SpinLock` sleeps, this lock does not sleep. The kernel crate has no such lock.
//!
//! [`RawLock`] owns its value. [`RawHeld`] acquires a lock that is a field of a C structure.
//!
//! C header: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h)

use crate::{
    bindings,
    prelude::*,
    processor::cpu_relax,
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ops::{
        Deref,
        DerefMut, //
    }, //
};

/// A raw spinlock around a value.
///
/// # Invariants
///
/// `lock` is initialised, and `data` is only accessed while `lock` is held.
#[pin_data]
pub(crate) struct RawLock<T> {
    #[pin]
    lock: Opaque<bindings::raw_spinlock_t>,
    data: UnsafeCell<T>,
}

// SAFETY: Sending the lock to another thread sends `data`, which is `Send`. A raw spinlock may be
// used by any thread.
unsafe impl<T: Send> Send for RawLock<T> {}
// SAFETY: A shared reference gives access to `data` only under the lock, to one thread at a time,
// so that `T: Send` is sufficient.
unsafe impl<T: Send> Sync for RawLock<T> {}

impl<T> RawLock<T> {
    /// Creates a lock around `data`. `init` initialises the raw spinlock, and determines its lock
    /// class.
    ///
    /// # Safety
    ///
    /// `init` must be a function that initialises a `raw_spinlock_t`.
    pub(crate) unsafe fn new(
        data: T,
        init: unsafe extern "C" fn(*mut bindings::raw_spinlock_t),
    ) -> impl PinInit<Self> {
        // INVARIANT: `init` initialises `lock` by the function's contract. No other code has a
        // reference to `data` yet.
        pin_init!(Self {
            lock <- Opaque::ffi_init(move |slot: *mut bindings::raw_spinlock_t| {
                // SAFETY: `init` requires memory for a `raw_spinlock_t`. `slot` is valid for writes
                // and pinned.
                unsafe { init(slot) };
            }),
            data: UnsafeCell::new(data),
        })
    }

    /// Acquires the lock, and disables interrupts until the guard is dropped.
    pub(crate) fn lock(&self) -> RawGuard<'_, T> {
        RawGuard {
            lock: self,
            // INVARIANT: `_held` is that of `lock`.
            //
            // SAFETY: `acquire()` requires an initialised lock that stays valid. By the type's
            // invariants `lock` is initialised, and the guard borrows it.
            _held: unsafe { RawHeld::acquire(self.lock.get()) },
        }
    }
}

/// A raw spinlock that is held. It is released when this is dropped.
///
/// # Invariants
///
/// `lock` points to a valid lock, which this CPU holds, and `flags` was returned when it was
/// acquired.
pub(crate) struct RawHeld<'a> {
    lock: *mut bindings::raw_spinlock_t,
    flags: c_ulong,
    _lock: PhantomData<&'a ()>,
    _not_send: NotThreadSafe,
}

impl RawHeld<'_> {
    /// Acquires a lock, and disables interrupts until the result is dropped.
    ///
    /// # Safety
    ///
    /// `lock` must point to an initialised lock, which must stay valid for the lifetime of the
    /// result.
    #[inline(always)]
    pub(crate) unsafe fn acquire(lock: *mut bindings::raw_spinlock_t) -> Self {
        // INVARIANT: `tether_raw_lock()` acquires the lock on this CPU and returns the flags. The
        // lock is valid by the function's contract.
        Self {
            lock,
            // SAFETY: `tether_raw_lock()` requires an initialised lock, which `lock` is by the
            // function's contract. The result releases it.
            flags: unsafe { bindings::tether_raw_lock(lock) },
            _lock: PhantomData,
            _not_send: NotThreadSafe,
        }
    }

    /// Releases the lock, and acquires it again, so that another CPU that spins for the lock can
    /// acquire it in between.
    pub(crate) fn relax(&mut self) {
        // SAFETY: `tether_raw_unlock()` requires a lock that this CPU holds, and the flags that
        // were returned when the lock was acquired. Both hold by the type's invariants. The lock is
        // acquired again below.
        unsafe { bindings::tether_raw_unlock(self.lock, self.flags) };
        cpu_relax();
        // INVARIANT: This CPU holds the lock again, and `flags` was returned by this call.
        //
        // SAFETY: `tether_raw_lock()` requires an initialised lock, which `lock` is, because it was
        // held above.
        self.flags = unsafe { bindings::tether_raw_lock(self.lock) };
    }
}

impl Drop for RawHeld<'_> {
    fn drop(&mut self) {
        // SAFETY: `tether_raw_unlock()` requires a lock that this CPU holds, and the flags that
        // were returned when the lock was acquired. Both hold by the type's invariants, and the
        // value is dropped once.
        unsafe { bindings::tether_raw_unlock(self.lock, self.flags) };
    }
}

/// A guard that holds a [`RawLock`].
///
/// # Invariants
///
/// `_held` is that of `lock`.
pub(crate) struct RawGuard<'a, T> {
    lock: &'a RawLock<T>,
    _held: RawHeld<'a>,
}

impl<T> Deref for RawGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `data` may be read while the lock is held, which it is by the invariants of the
        // guard. The returned reference borrows the guard.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> DerefMut for RawGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: `data` may be written while the lock is held, which it is by the invariants of
        // the guard. The guard is borrowed mutably, so there is no other reference to `data`.
        unsafe { &mut *self.lock.data.get() }
    }
}
