// SPDX-License-Identifier: GPL-2.0

//! Loads, stores and barriers of single words, without a call.
//!
//! The functions of `Atomic`, and the barriers of the kernel crate, are C functions. Unless the
//! kernel was built with `CONFIG_RUST_INLINE_HELPERS`, each use of such a function is a call of
//! about five instructions, where C has one instruction or none. The functions in this file have
//! the same effect. They are used in the paths that are measured by `make bench`: queueing and
//! running a task work, or reading an interval notifier, uses four to eight of them.
//!
//! On x86, each load has acquire semantics and each store has release semantics, and loads are not
//! reordered, so that a compiler barrier is sufficient. On other architectures, a barrier of the
//! kernel crate is used.
//!
//! No other file depends on the memory ordering of an architecture. The models in `tests/model`
//! replace this file with the plain atomics.

use crate::bindings;
use crate::sync::{
    atomic::{
        Atomic,
        AtomicType,
        Full, //
    },
    barrier::{
        smp_mb,
        Read, //
    }, //
};
use core::{
    ptr,
    sync::atomic::{
        compiler_fence,
        Ordering::SeqCst, //
    }, //
};

/// `READ_ONCE()`: equivalent to [`Atomic::load`] with `Relaxed`.
#[inline(always)]
pub(crate) fn read_once<T: Copy + AtomicType>(atomic: &Atomic<T>) -> T {
    // SAFETY: `atomic` is a reference, so the pointer is valid and aligned for reads of `T`.
    // Concurrent writes are atomic or volatile accesses of the same size, which the kernel's memory
    // model allows to race with a volatile read.
    unsafe { ptr::read_volatile(atomic.as_ptr()) }
}

/// `WRITE_ONCE()`: equivalent to [`Atomic::store`] with `Relaxed`.
#[inline(always)]
pub(crate) fn write_once<T: Copy + AtomicType>(atomic: &Atomic<T>, value: T) {
    // SAFETY: `atomic` is a reference, so the pointer is valid and aligned, and the `UnsafeCell`
    // inside allows writes. Concurrent accesses are atomic or volatile accesses of the same size,
    // which the kernel's memory model allows to race with a volatile write.
    unsafe { ptr::write_volatile(atomic.as_ptr(), value) }
}

/// `smp_load_acquire()`.
#[inline(always)]
pub(crate) fn load_acquire<T: Copy + AtomicType>(atomic: &Atomic<T>) -> T {
    let value = read_once(atomic);
    if cfg!(CONFIG_X86) {
        compiler_fence(SeqCst);
    } else {
        smp_mb(Full);
    }
    value
}

/// `smp_store_release()`.
#[inline(always)]
pub(crate) fn store_release<T: Copy + AtomicType>(atomic: &Atomic<T>, value: T) {
    if cfg!(CONFIG_X86) {
        compiler_fence(SeqCst);
    } else {
        smp_mb(Full);
    }
    write_once(atomic, value);
}

/// `atomic_long_inc_unless_negative()`: increments the value, unless the value is negative. Returns
/// whether the value was incremented; if so, the operation is fully ordered.
///
/// A call of the kernel's function takes fifteen instructions less than a load and a loop of
/// [`Atomic::cmpxchg`].
#[inline(always)]
pub(crate) fn inc_unless_negative(atomic: &Atomic<isize>) -> bool {
    #[cfg(CONFIG_64BIT)]
    {
        // SAFETY: `atomic` is a reference, so the pointer is valid, and `atomic64_t` has the layout
        // of `isize` on a 64-bit kernel.
        unsafe { bindings::atomic64_inc_unless_negative(atomic.as_ptr().cast()) }
    }
    #[cfg(not(CONFIG_64BIT))]
    {
        // SAFETY: `atomic` is a reference, so the pointer is valid, and `atomic_t` has the layout
        // of `isize` on a 32-bit kernel.
        unsafe { bindings::atomic_inc_unless_negative(atomic.as_ptr().cast()) }
    }
}

/// `atomic_inc_unless_negative()`: like [`inc_unless_negative`], for a counter of another size.
#[inline(always)]
pub(crate) fn inc_unless_negative_i32(atomic: &Atomic<i32>) -> bool {
    // SAFETY: `atomic` is a reference, so the pointer is valid, and `atomic_t` has the layout of
    // `i32`.
    unsafe { bindings::atomic_inc_unless_negative(atomic.as_ptr().cast()) }
}

/// `smp_rmb()`.
#[inline(always)]
pub(crate) fn smp_rmb() {
    if cfg!(CONFIG_X86) {
        compiler_fence(SeqCst);
    } else {
        smp_mb(Read);
    }
}
