// SPDX-License-Identifier: GPL-2.0

//! What a pointer does for this crate is not called by others: an item whose node is taken and not
//! queued would be pending for ever.

include!("common/item.rs");

use tether::task_work::TaskWorkPointer;

/// Takes its node.
pub fn take<P: TaskWorkPointer<0>>(item: P) -> Result {
    let _ = core::any::type_name::<P>();
    drop(item.into_node(current!())); // misuse: E0133
    task_work::add(current!(), self::item()?, Mode::None)?;
    Ok(())
}
