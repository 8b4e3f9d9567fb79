// SPDX-License-Identifier: GPL-2.0

//! Lock classes for locks that outlive the module that created them.
//!
//! A lock class and its name are static variables of the module that expands the macro which
//! creates the lock. An object that another module holds may outlive that module, and `lockdep`
//! would then read freed memory. Therefore such locks get a class of this crate, one for each class
//! of a module.
//!
//! C source: [`kernel/locking/lockdep.c`](srctree/kernel/locking/lockdep.c).

use crate::{
    prelude::*,
    str::CStr,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        LockClassKey, //
    }, //
};
use core::ptr;

/// A lock class of this crate.
struct Class {
    /// The address of the module's class that this class replaces. It is only compared.
    of: Atomic<*const LockClassKey>,
    key: LockClassKey,
}

const COUNT: usize = 64;

static CLASSES: [Class; COUNT] = [const {
    Class {
        of: Atomic::new(ptr::null()),
        // SAFETY: `new_static()` requires that the key is in a static variable. It is an element of
        // `CLASSES`.
        key: unsafe { LockClassKey::new_static() },
    }
}; COUNT];

/// Returns the name and the class to use for a lock in place of `name` and `key`, which may be in
/// the memory of a module.
///
/// At most 64 classes are distinguished; further classes share the last class. If a module is
/// loaded at the address of a former module, its class may get the class of a lock of that module.
pub(crate) fn permanent(
    name: &'static CStr,
    key: Pin<&'static LockClassKey>,
) -> (&'static CStr, Pin<&'static LockClassKey>) {
    if !cfg!(CONFIG_LOCKDEP) {
        // Without lockdep, neither the name nor the key is used.
        return (name, key);
    }
    let address: *const LockClassKey = &*key;
    let mut class = &CLASSES[COUNT - 1];
    for candidate in &CLASSES {
        let before = match candidate.of.cmpxchg(ptr::null(), address, Relaxed) {
            Ok(_) => address,
            Err(before) => before,
        };
        if ptr::eq(before, address) {
            class = candidate;
            break;
        }
    }
    (c"tether::permanent", Pin::static_ref(&class.key))
}
