// SPDX-License-Identifier: GPL-2.0

//! A stand-in for the kernel's prelude.

pub use crate::pin_init;
pub use macros::pin_data;

/// An errno.
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

errors! { EBUSY EDEADLK EINTR ENODEV ERESTARTSYS ESRCH ETIMEDOUT }

/// As in the kernel crate, on 64 bits.
#[allow(non_camel_case_types)]
pub type c_long = isize;

/// As in the kernel crate, by value.
pub trait PinInit<T> {
    /// Makes the value.
    fn make(self) -> T;
}

/// A closure that makes a value.
pub struct Init<F>(pub F);

impl<T, F: FnOnce() -> T> PinInit<T> for Init<F> {
    fn make(self) -> T {
        (self.0)()
    }
}

/// As in the kernel crate, by value.
#[macro_export]
macro_rules! pin_init {
    ($type:ident { $($fields:tt)* }) => {
        $crate::prelude::Init(move || $crate::pin_init!(@ $type [] $($fields)*))
    };
    (@ $type:ident [$($done:tt)*] $field:ident : $value:expr, $($rest:tt)*) => {
        $crate::pin_init!(@ $type [$($done)* $field: $value,] $($rest)*)
    };
    (@ $type:ident [$($done:tt)*] $field:ident <- $value:expr, $($rest:tt)*) => {
        $crate::pin_init!(@ $type [$($done)* $field: $crate::prelude::PinInit::make($value),] $($rest)*)
    };
    (@ $type:ident [$($done:tt)*]) => { $type { $($done)* } };
}
