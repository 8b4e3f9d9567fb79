// SPDX-License-Identifier: GPL-2.0

//! Loads, stores and barriers of single words, without a call.
//!
//! The functions of `Atomic`, and the barriers of the kernel crate, are C functions. Unless the kernel was
//! built with `CONFIG_RUST_INLINE_HELPERS`, each use of one is a call of about five instructions, where C has
//! one instruction or none. The functions here do the same for the paths that are measured by `make bench`:
//! each time a task work is queued and run, or an interval notifier is read, there are four to eight of them.
//!
//! On x86, each load has acquire semantics and each store release semantics, and loads are not reordered, so
//! that only the compiler has to be told. On other architectures there is a barrier of the kernel crate.
//!
//! This is the only place that makes use of the order of an architecture. The models in `tests/model` replace
//! it with the plain atomics.

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
    // SAFETY: The pointer is valid. The kernel's C code reads concurrently written values by a volatile
    // access of their size, too.
    unsafe { ptr::read_volatile(atomic.as_ptr()) }
}

/// `WRITE_ONCE()`: what [`Atomic::store`] does with `Relaxed`.
#[inline(always)]
pub(crate) fn write_once<T: Copy + AtomicType>(atomic: &Atomic<T>, value: T) {
    // SAFETY: The pointer is valid. The kernel's C code writes concurrently read values by a volatile access
    // of their size, too.
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

/// `smp_rmb()`.
#[inline(always)]
pub(crate) fn smp_rmb() {
    if cfg!(CONFIG_X86) {
        compiler_fence(SeqCst);
    } else {
        smp_mb(Read);
    }
}
