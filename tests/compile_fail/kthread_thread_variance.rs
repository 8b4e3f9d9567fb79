// SPDX-License-Identifier: GPL-2.0

//! `Thread<T>` is invariant in `T`, because `T` selects the function that drops the result.

use kernel::prelude::*;
use tether::kthread::Thread;

type Any = for<'a> fn(&'a u8);
type Static = fn(&'static u8);

/// Coerces a handle to a handle of a supertype.
pub fn thread(thread: &Thread<Any>) -> Result<&Thread<Static>> {
    return Ok(thread); // misuse: E0308
    #[allow(unreachable_code)]
    Err(EINVAL)
}
