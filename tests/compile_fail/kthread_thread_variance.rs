// SPDX-License-Identifier: GPL-2.0

//! The type of a result chooses the function that drops it.

use kernel::prelude::*;
use tether::kthread::Thread;

type Any = for<'a> fn(&'a u8);
type Static = fn(&'static u8);

/// Gives one for the other.
pub fn thread(thread: &Thread<Any>) -> Result<&Thread<Static>> {
    return Ok(thread); // misuse: E0308
    #[allow(unreachable_code)]
    Err(EINVAL)
}
