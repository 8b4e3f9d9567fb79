// SPDX-License-Identifier: GPL-2.0

//! The functions of a pointer can be named, but neither called nor changed.

include!("common/item.rs");

use tether::task_work::TaskWorkPointer;

/// Looks at them.
pub fn functions() -> Result {
    let vtable = <Pin<KBox<Item>> as TaskWorkPointer<0>>::VTABLE;
    let _ = vtable.run; // misuse: E0616
    let _ = vtable;
    task_work::add(current!(), item()?, Mode::None)?;
    Ok(())
}
