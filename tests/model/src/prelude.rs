// SPDX-License-Identifier: GPL-2.0

//! A stand-in for the kernel's prelude.

pub use crate::pin_init;
pub use macros::pin_data;

/// An error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(&'static str);

/// As in the kernel crate.
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

macro_rules! errors {
    ($($name:ident)*) => {$(
        #[doc = concat!("The errno `", stringify!($name), "`.")]
        pub const $name: Error = Error(stringify!($name));
    )*};
}

errors! { EBUSY EDEADLK EINTR EINVAL ENODEV ERESTARTSYS ESRCH ETIMEDOUT }

/// As in the kernel crate, on a 64-bit architecture.
#[allow(non_camel_case_types)]
pub type c_long = isize;

pub use core::ffi::{
    c_void,
    CStr, //
};

/// As in the kernel crate, on a 64-bit architecture.
#[allow(non_camel_case_types)]
pub type c_int = i32;

pub use std::{
    boxed::Box as KBox,
    pin::Pin, //
};

/// Allocation flags, which have no effect here.
pub struct Flags;

/// As in the kernel crate.
pub const GFP_KERNEL: Flags = Flags;

/// The functions that a `KBox` has in addition to a `Box`.
pub trait PinInitBox<T> {
    /// As in the kernel crate.
    fn pin_init(init: impl PinInit<T>, _flags: Flags) -> Result<Pin<Box<T>>>;
}

impl<T> PinInitBox<T> for Box<T> {
    fn pin_init(init: impl PinInit<T>, _flags: Flags) -> Result<Pin<Box<T>>> {
        let mut slot = Box::<T>::new_uninit();
        // SAFETY: `slot` is valid for writes, and `init()` initialises it.
        unsafe {
            init.init(slot.as_mut_ptr());
            Ok(Box::into_pin(slot.assume_init()))
        }
    }
}

/// As in the kernel crate, but the initialisation cannot fail.
pub trait PinInit<T>: Sized {
    /// Initialises the value in place.
    ///
    /// # Safety
    ///
    /// `slot` must be valid for writes.
    unsafe fn init(self, slot: *mut T);

    /// Returns an initialised value that may be moved.
    fn make(self) -> T {
        let mut slot = core::mem::MaybeUninit::uninit();
        // SAFETY: `slot` is valid for writes, and `init()` initialises it.
        unsafe {
            self.init(slot.as_mut_ptr());
            slot.assume_init()
        }
    }
}

/// A function that initialises a value in place.
pub struct Init<F>(pub F);

impl<T, F: FnOnce(*mut T)> PinInit<T> for Init<F> {
    unsafe fn init(self, slot: *mut T) {
        (self.0)(slot);
    }
}

/// As in the kernel crate.
#[macro_export]
macro_rules! pin_init {
    ($type:ident { $($fields:tt)* }) => {
        $crate::prelude::Init(move |slot: *mut $type| {
            // Fails to compile if a field is missing.
            let _ = |value: $type| $crate::pin_init!(@ names value $type [] $($fields)*);
            $crate::pin_init!(@ init slot $($fields)*)
        })
    };
    (@ names $value:ident $type:ident [$($done:tt)*] $field:ident : $init:expr, $($rest:tt)*) => {
        $crate::pin_init!(@ names $value $type [$($done)* $field: $value.$field,] $($rest)*)
    };
    (@ names $value:ident $type:ident [$($done:tt)*] $field:ident <- $init:expr, $($rest:tt)*) => {
        $crate::pin_init!(@ names $value $type [$($done)* $field: $value.$field,] $($rest)*)
    };
    (@ names $value:ident $type:ident [$($done:tt)*] $field:ident, $($rest:tt)*) => {
        $crate::pin_init!(@ names $value $type [$($done)* $field: $value.$field,] $($rest)*)
    };
    (@ names $value:ident $type:ident [$($done:tt)*]) => { $type { $($done)* } };
    (@ init $slot:ident $field:ident : $value:expr, $($rest:tt)*) => {{
            // SAFETY: The caller of `init()` guarantees that the slot is valid for writes.
            unsafe { (&raw mut (*$slot).$field).write($value) };
            $crate::pin_init!(@ init $slot $($rest)*)
    }};
    (@ init $slot:ident $field:ident <- $init:expr, $($rest:tt)*) => {{
            // SAFETY: The caller of `init()` guarantees that the slot is valid for writes.
            unsafe { $crate::prelude::PinInit::init($init, &raw mut (*$slot).$field) };
            $crate::pin_init!(@ init $slot $($rest)*)
    }};
    (@ init $slot:ident $field:ident, $($rest:tt)*) => {{
            // SAFETY: The caller of `init()` guarantees that the slot is valid for writes.
            unsafe { (&raw mut (*$slot).$field).write($field) };
            $crate::pin_init!(@ init $slot $($rest)*)
    }};
    (@ init $slot:ident) => {
        ()
    };
}
