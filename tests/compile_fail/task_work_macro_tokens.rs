// SPDX-License-Identifier: GPL-2.0

//! The macro accepts only generics between the braces. Other tokens could close the generics and
//! write an `unsafe impl` of any trait.

#![allow(dead_code)]
#![allow(unused_imports)]

use core::cell::Cell;
use tether::task_work::impl_has_task_work;

/// This type is neither `Send` nor `Sync`.
pub struct Racy(Cell<u64>);

/// This type has no work.
pub struct Nothing;

impl_has_task_work! {
    impl{> Sync for Racy {} #[cfg(any())] impl<} HasTaskWork<Self> for Nothing { self.work } // misuse: syntax
}
