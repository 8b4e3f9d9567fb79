// SPDX-License-Identifier: GPL-2.0

//! The type of a work chooses the functions that are called with its item, so that it cannot be
//! coerced to a supertype, for which other functions are chosen.

#![allow(dead_code)]

use core::marker::PhantomData;
use kernel::prelude::*;
use tether::kthread::worker::{
    KthreadDelayedWork,
    KthreadWork, //
};

type Any = for<'a> fn(&'a u8);
type Static = fn(&'static u8);

struct Item<F>(PhantomData<F>);

/// `Any` is a subtype of `Static`, and so may be given for it.
pub fn item(item: &Any) -> &Static {
    item
}

/// A work may not.
pub fn work(work: &KthreadWork<Item<Any>>) -> Result<&KthreadWork<Item<Static>>> {
    return Ok(work); // misuse: E0308
    #[allow(unreachable_code)]
    Err(EINVAL)
}

/// Nor may a delayed one; see `kthread_delayed_work_variance.rs`.
pub fn delayed(work: &KthreadDelayedWork<Item<Any>>) -> &KthreadDelayedWork<Item<Any>> {
    work
}
