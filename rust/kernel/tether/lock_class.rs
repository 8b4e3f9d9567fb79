// SPDX-License-Identifier: GPL-2.0

//! Lock classes for locks that outlive the module that has created them.
//!
//! A lock class, and its name, are static variables of the module in which the macro that creates
//! the lock stands. An object that another module holds may outlive that module. `lockdep` then
//! reads memory that was freed. Therefore such locks get a class of this crate, one for each class
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

/// A class of this crate.
struct Class {
    /// The address of the class that it stands for, which is only compared.
    of: Atomic<*const LockClassKey>,
    key: LockClassKey,
}

const COUNT: usize = 64;

static CLASSES: [Class; COUNT] = [const {
    Class {
        of: Atomic::new(ptr::null()),
        // SAFETY: It is in a static variable, which is pinned, and never dropped.
        key: unsafe { LockClassKey::new_static() },
    }
}; COUNT];

/// Returns the name and the class that a lock gets in place of `name` and `key`, which may be in
/// the memory of a module.
///
/// If there are more than 64 classes, the last ones share one. A class is found again when a module
/// is loaded at the place of another one.
pub(crate) fn permanent(
    name: &'static CStr,
    key: Pin<&'static LockClassKey>,
) -> (&'static CStr, Pin<&'static LockClassKey>) {
    if !cfg!(CONFIG_LOCKDEP) {
        // Neither is used.
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
