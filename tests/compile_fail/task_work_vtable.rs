// SPDX-License-Identifier: GPL-2.0

//! The table of a pointer type can be named, but its functions are private.

include!("common/item.rs");

use tether::task_work::TaskWorkPointer;

/// Tries to read a function of the table.
pub fn functions() -> Result {
    let vtable = <Pin<KBox<Item>> as TaskWorkPointer<0>>::VTABLE;
    let _ = vtable.run; // misuse: E0616
    let _ = vtable;
    task_work::add(current!(), item()?, NotifyMode::None)?;
    Ok(())
}
