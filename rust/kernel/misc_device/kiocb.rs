// SPDX-License-Identifier: GPL-2.0

//! Read and write requests to a file of a misc device.

use crate::{
    bindings,
    prelude::*,
    types::ForeignOwnable, //
};
use core::{
    marker::PhantomData,
    ptr, //
};

/// A read or write request to a file of a misc device: `struct kiocb`.
///
/// `T` is the driver's pointer type, [`MiscDevice::Ptr`](super::MiscDevice::Ptr).
///
/// # Invariants
///
/// `inner` points to a `struct kiocb` that is valid for `'a`, and `private` was returned by
/// `T::into_foreign`, and is not taken back during `'a`.
pub struct Kiocb<'a, T> {
    inner: *mut bindings::kiocb,
    private: *mut c_void,
    _t: PhantomData<(&'a (), *mut T)>,
}

impl<'a, T: ForeignOwnable> Kiocb<'a, T> {
    /// Creates the request that `read_iter` and `write_iter` get.
    ///
    /// # Safety
    ///
    /// * `kiocb` must be valid for the duration of `'a`, and not be used by other code meanwhile.
    /// * `private` must have been returned by `T::into_foreign`, and must not be passed to
    ///   `T::from_foreign` during `'a`.
    pub(super) unsafe fn from_raw(kiocb: *mut bindings::kiocb, private: *mut c_void) -> Self {
        // INVARIANT: The caller guarantees that `kiocb` is valid for `'a`, that `private` was
        // returned by `T::into_foreign`, and that it is not taken back during `'a`.
        Self {
            inner: kiocb,
            private,
            _t: PhantomData,
        }
    }

    /// Returns the driver's data of the file.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn file(&self) -> T::Borrowed<'a> {
        // SAFETY: By the type's invariants, `private` was returned by `T::into_foreign`, and
        // `T::from_foreign` is not called on it during `'a`.
        unsafe { T::borrow(self.private) }
    }

    /// Returns the position in the file.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn ki_pos(&self) -> i64 {
        // SAFETY: The request is valid by the type's invariants.
        unsafe { (*self.inner).ki_pos }
    }

    /// Returns a mutable reference to the position in the file.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn ki_pos_mut(&mut self) -> &mut i64 {
        // SAFETY: The request is valid by the type's invariants, and this is the only `Kiocb` of
        // it, which is borrowed mutably here.
        unsafe { &mut (*self.inner).ki_pos }
    }

    /// Whether the request must not wait: `O_NONBLOCK` is set for the file, or `IOCB_NOWAIT` for
    /// the request. io_uring sets the latter, and repeats a request that fails with [`EAGAIN`].
    ///
    /// # Context
    ///
    /// Any context.
    pub fn is_nonblocking(&self) -> bool {
        // SAFETY: The request is valid by the type's invariants, and holds a reference to its file.
        // The flags of the file may change at the same time, so they are read by a volatile access.
        let flags = unsafe { ptr::read_volatile(&raw const (*(*self.inner).ki_filp).f_flags) };
        // SAFETY: The request is valid by the type's invariants.
        let nowait = unsafe { bindings::tether_kiocb_nowait(self.inner) };
        nowait || flags & crate::fs::file::flags::O_NONBLOCK != 0
    }
}
