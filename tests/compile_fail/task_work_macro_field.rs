// SPDX-License-Identifier: GPL-2.0

//! The macro accepts a field of the struct itself, and no field that is reached through `Deref`.

#![allow(dead_code)]
#![allow(unused_imports)]

use core::ops::{
    Deref,
    DerefMut, //
};
use kernel::prelude::*;
use tether::task_work::{
    impl_has_task_work,
    TaskWork, //
};

#[pin_data]
struct Inner {
    #[pin]
    work: TaskWork<Outer>,
}

struct Outer(KBox<Inner>);

impl Deref for Outer {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl DerefMut for Outer {
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.0
    }
}

impl_has_task_work! { impl HasTaskWork<Self> for Outer { self.work } } // misuse: E0609
