// SPDX-License-Identifier: GPL-2.0

//! Loads, stores and barriers of single words, without a call.
//!
//! The functions of `Atomic`, and the barriers of the kernel crate, are C functions. Unless the
//! kernel was built with `CONFIG_RUST_INLINE_HELPERS`, each use of one is a call of about five
//! instructions, where C has one instruction or none. The functions here do the same for the paths
//! that are measured by `make bench`: each time a task work is queued and run, or an interval
//! notifier is read, there are four to eight of them.
//!
//! On x86, each load has acquire semantics and each store release semantics, and loads are not
//! reordered, so that only the compiler has to be told. On other architectures there is a barrier
//! of the kernel crate.
//!
//! This is the only place that makes use of the order of an architecture. The models in
//! `tests/model` replace it with the plain atomics.

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

/// `READ_ONCE()`: what [`Atomic::load`] does with `Relaxed`.
#[inline(always)]
pub(crate) fn read_once<T: Copy + AtomicType>(atomic: &Atomic<T>) -> T {
    // SAFETY: The pointer is valid. The kernel's C code reads concurrently written values by a
    // volatile access of their size, too.
    unsafe { ptr::read_volatile(atomic.as_ptr()) }
}

/// `WRITE_ONCE()`: what [`Atomic::store`] does with `Relaxed`.
#[inline(always)]
pub(crate) fn write_once<T: Copy + AtomicType>(atomic: &Atomic<T>, value: T) {
    // SAFETY: The pointer is valid. The kernel's C code writes concurrently read values by a
    // volatile access of their size, too.
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

/// `atomic_long_inc_unless_negative()`: increments, unless the value is negative. Returns whether
/// it has; then the operation is fully ordered.
///
/// The kernel's function is one call without a loop outside of it, where a load and
/// [`Atomic::cmpxchg`] take fifteen instructions more.
#[inline(always)]
pub(crate) fn inc_unless_negative(atomic: &Atomic<isize>) -> bool {
    #[cfg(CONFIG_64BIT)]
    {
        // SAFETY: The pointer is valid, and `atomic64_t` has the layout of its value.
        unsafe { bindings::atomic64_inc_unless_negative(atomic.as_ptr().cast()) }
    }
    #[cfg(not(CONFIG_64BIT))]
    {
        // SAFETY: The pointer is valid, and `atomic_t` has the layout of its value.
        unsafe { bindings::atomic_inc_unless_negative(atomic.as_ptr().cast()) }
    }
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
