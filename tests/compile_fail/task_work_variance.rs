// SPDX-License-Identifier: GPL-2.0

//! `TaskWork<T>` is invariant in `T`. `T` selects the callback when the field is created, and a
//! supertype of `T` may select another callback.

#![allow(dead_code)]

use core::marker::PhantomData;
use kernel::prelude::*;
use tether::task_work::TaskWork;

type Any = for<'a> fn(&'a u8);
type Static = fn(&'static u8);

struct Item<F>(PhantomData<F>);

/// Coerces `Any` to its supertype `Static`, which is allowed.
pub fn item(item: &Any) -> &Static {
    item
}

/// Coerces a field of `Any` to a field of `Static`, which is not allowed.
pub fn field(work: &TaskWork<Item<Any>>) -> Result<&TaskWork<Item<Static>>> {
    return Ok(work); // misuse: E0308
    #[allow(unreachable_code)]
    Err(EINVAL)
}
