// SPDX-License-Identifier: GPL-2.0

//! `KthreadDelayedWork<T>` is invariant in `T`, for the reason in `kthread_work_variance.rs`.

#![allow(dead_code)]

use core::marker::PhantomData;
use kernel::prelude::*;
use tether::kthread::worker::KthreadDelayedWork;

type Any = for<'a> fn(&'a u8);
type Static = fn(&'static u8);

struct Item<F>(PhantomData<F>);

/// Coerces a work of `Any` to a work of its supertype.
pub fn work(work: &KthreadDelayedWork<Item<Any>>) -> Result<&KthreadDelayedWork<Item<Static>>> {
    return Ok(work); // misuse: E0308
    #[allow(unreachable_code)]
    Err(EINVAL)
}
