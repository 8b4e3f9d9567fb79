// SPDX-License-Identifier: GPL-2.0

//! The methods of a pointer are for this crate. An item would stay pending if a driver took its
//! node without queueing it.

include!("common/item.rs");

use tether::task_work::TaskWorkPointer;

/// Takes its node.
pub fn take<P: TaskWorkPointer<0>>(item: P) -> Result {
    let _ = core::any::type_name::<P>();
    drop(item.into_node(current!())); // misuse: E0133
    task_work::add(current!(), self::item()?, Mode::None)?;
    Ok(())
}
