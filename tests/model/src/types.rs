// SPDX-License-Identifier: GPL-2.0

//! A stand-in for `kernel::types`.

use crate::prelude::*;
use std::{
    cell::UnsafeCell,
    mem::MaybeUninit, //
};

/// As in the kernel crate.
#[derive(Clone, Copy)]
pub struct NotThreadSafe;

/// As in the kernel crate.
#[repr(transparent)]
pub struct Opaque<T>(UnsafeCell<MaybeUninit<T>>);

impl<T> Opaque<T> {
    /// As in the kernel crate.
    pub const fn uninit() -> Self {
        Self(UnsafeCell::new(MaybeUninit::uninit()))
    }

    /// As in the kernel crate.
    pub fn ffi_init(init: impl FnOnce(*mut T)) -> impl PinInit<Self> {
        Init(move |slot: *mut Self| init(slot.cast()))
    }

    /// As in the kernel crate.
    pub const fn get(&self) -> *mut T {
        self.0.get().cast()
    }

    /// As in the kernel crate.
    pub const fn cast_from(this: *const T) -> *const Self {
        this.cast()
    }
}
