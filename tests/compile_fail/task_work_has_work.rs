// SPDX-License-Identifier: GPL-2.0

//! Where the field of an object is cannot be said without the word `unsafe`, but by the macro.

include!("common/item.rs");

use tether::task_work::HasTaskWork;

/// Has none.
pub struct Other;

#[rustfmt::skip]
impl HasTaskWork<Item, 0> for Other { unsafe fn raw_get_task_work(_: *mut Self) -> *mut TaskWork<Item> { loop {} } unsafe fn task_work_container_of(_: *mut TaskWork<Item>) -> *mut Self { loop {} } } // misuse: E0200

/// Adds one.
pub fn add() -> Result {
    task_work::add(current!(), item()?, Mode::None)?;
    Ok(())
}
