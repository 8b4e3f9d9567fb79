// SPDX-License-Identifier: GPL-2.0

//! `Pending<F>` is invariant in `F`: the type of the closure selects the callback when the closure
//! is added, so that the handle cannot be coerced to that of a supertype.

#![allow(dead_code)]

use kernel::prelude::*;
use tether::task_work::{
    Context,
    Pending, //
};

type Any = for<'a, 'b> fn(&'a Context<'b>);
type Static = fn(&'static Context<'static>);

/// Coerces `Any` to its supertype `Static`, which is allowed.
pub fn closure(closure: Any) -> Static {
    closure
}

/// Coerces a handle of `Any` to a handle of `Static`, which is not allowed.
pub fn handle(pending: Pending<Any>) -> Result<Pending<Static>> {
    return Ok(pending); // misuse: E0308
    #[allow(unreachable_code)]
    Err(EINVAL)
}
