// SPDX-License-Identifier: GPL-2.0

//! `KthreadWork<T>` is invariant in `T`. `T` selects the functions that are called with the item,
//! and a supertype of `T` may select other functions.

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

/// Coerces `Any` to its supertype `Static`, which is allowed.
pub fn item(item: &Any) -> &Static {
    item
}

/// Coerces a work of `Any` to a work of `Static`, which is not allowed.
pub fn work(work: &KthreadWork<Item<Any>>) -> Result<&KthreadWork<Item<Static>>> {
    return Ok(work); // misuse: E0308
    #[allow(unreachable_code)]
    Err(EINVAL)
}

/// Delayed works are tested in `kthread_delayed_work_variance.rs`.
pub fn delayed(work: &KthreadDelayedWork<Item<Any>>) -> &KthreadDelayedWork<Item<Any>> {
    work
}
