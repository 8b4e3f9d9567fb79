// SPDX-License-Identifier: GPL-2.0

//! A driver cannot call the methods of `TaskWorkPointer` in safe code. An item would stay pending
//! if the driver took its node without queueing it.

include!("common/item.rs");

use tether::task_work::TaskWorkPointer;

/// Tries to take the node of an item.
pub fn take<P: TaskWorkPointer<0>>(item: P) -> Result {
    let _ = core::any::type_name::<P>();
    drop(item.into_node(current!())); // misuse: E0133
    task_work::add(current!(), self::item()?, NotifyMode::None)?;
    Ok(())
}
