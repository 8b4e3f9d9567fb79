// SPDX-License-Identifier: GPL-2.0

//! The ID of the macro is a constant: a block in its place is an expression of its own, in which
//! nothing is unsafe.

#![allow(dead_code)]

use kernel::prelude::*;
use tether::task_work::{
    impl_has_task_work,
    TaskWork, //
};

#[pin_data]
struct Item {
    #[pin]
    work: TaskWork<Item, 1>,
}

const fn one() -> u64 {
    1
}

const unsafe fn unchecked() -> u64 {
    1
}

impl_has_task_work! { impl HasTaskWork<Self, { one() }> for Item { self.work } }

#[pin_data]
struct Other {
    #[pin]
    work: TaskWork<Other, 1>,
}

impl_has_task_work! { impl HasTaskWork<Self, { unchecked() }> for Other { self.work } } // misuse: E0133
