// SPDX-License-Identifier: GPL-2.0

//! The type of an item chooses the callback when its field is created, so that the field cannot be
//! coerced to that of a supertype, for which another callback is chosen.

#![allow(dead_code)]

use core::marker::PhantomData;
use kernel::prelude::*;
use tether::task_work::TaskWork;

type Any = for<'a> fn(&'a u8);
type Static = fn(&'static u8);

struct Item<F>(PhantomData<F>);

/// `Any` is a subtype of `Static`, and so may be given for it.
pub fn item(item: &Any) -> &Static {
    item
}

/// A field may not.
pub fn field(work: &TaskWork<Item<Any>>) -> Result<&TaskWork<Item<Static>>> {
    return Ok(work); // misuse: E0308
    #[allow(unreachable_code)]
    Err(EINVAL)
}
