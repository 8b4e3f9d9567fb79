// SPDX-License-Identifier: GPL-2.0

//! A block as the ID of the macro is evaluated outside of any `unsafe` block: it cannot call an
//! unsafe function.

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
