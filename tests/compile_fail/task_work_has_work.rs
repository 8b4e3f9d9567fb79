// SPDX-License-Identifier: GPL-2.0

//! Without the macro, an implementation of `HasTaskWork` needs the keyword `unsafe`.

include!("common/item.rs");

use tether::task_work::HasTaskWork;

/// This type has no work.
pub struct Other;

#[rustfmt::skip]
impl HasTaskWork<Item, 0> for Other { unsafe fn raw_get_task_work(_: *mut Self) -> *mut TaskWork<Item> { loop {} } unsafe fn task_work_container_of(_: *mut TaskWork<Item>) -> *mut Self { loop {} } } // misuse: E0200

/// Adds an item of the type that has a work.
pub fn add() -> Result {
    task_work::add(current!(), item()?, NotifyMode::None)?;
    Ok(())
}
