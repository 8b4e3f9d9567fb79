// SPDX-License-Identifier: GPL-2.0

//! Files that are being opened or released.

use crate::{
    bindings,
    cred::Credential,
    types::Opaque, //
};
use core::ptr;

/// A file that is being opened or released.
///
/// Unlike a [`File`](crate::fs::File), it cannot be turned into an
/// [`ARef`](crate::sync::aref::ARef): a reference taken in `release` would refer to freed memory
/// when `release` has returned; with one taken in `open`, a half-opened file could be installed in
/// a table of descriptors.
///
/// # Invariants
///
/// The file is valid, and is being opened or released.
#[repr(transparent)]
pub struct TransientFile {
    inner: Opaque<bindings::file>,
}

impl TransientFile {
    /// Creates a reference to a file that is being opened or released.
    ///
    /// # Safety
    ///
    /// The file must be valid for the duration of `'a`, and being opened or released.
    pub(super) unsafe fn from_raw<'a>(file: *mut bindings::file) -> &'a Self {
        // INVARIANT: The caller guarantees that the file is valid, and being opened or released.
        //
        // SAFETY: The caller guarantees that the pointer is valid for `'a`, and `Self` is
        // transparent.
        unsafe { &*file.cast() }
    }

    /// Returns the flags that the file was opened with; see [`File`](crate::fs::File)'s method of
    /// this name.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn flags(&self) -> u32 {
        // SAFETY: The file is valid by the type's invariants. `fcntl()` may change the flags at the
        // same time, so the field is read once, by a volatile access.
        unsafe { ptr::read_volatile(&raw const (*self.inner.get()).f_flags) }
    }

    /// Returns the credentials that the file was opened with.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn cred(&self) -> &Credential {
        // SAFETY: The file is valid by the type's invariants, and holds a reference to its
        // credentials, which are never replaced, until it is freed.
        unsafe { Credential::from_ptr((*self.inner.get()).f_cred) }
    }
}
