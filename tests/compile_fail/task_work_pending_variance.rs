// SPDX-License-Identifier: GPL-2.0

//! The type of a closure has chosen its callback when it was added: a handle is not coerced to that
//! of a supertype.

#![allow(dead_code)]

use kernel::prelude::*;
use tether::task_work::{
    Context,
    Pending, //
};

type Any = for<'a, 'b> fn(&'a Context<'b>);
type Static = fn(&'static Context<'static>);

/// `Any` is a subtype of `Static`, and so may be given for it.
pub fn closure(closure: Any) -> Static {
    closure
}

/// A handle may not.
pub fn handle(pending: Pending<Any>) -> Result<Pending<Static>> {
    return Ok(pending); // misuse: E0308
    #[allow(unreachable_code)]
    Err(EINVAL)
}
