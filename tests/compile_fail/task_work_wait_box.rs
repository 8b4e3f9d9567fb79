// SPDX-License-Identifier: GPL-2.0

//! An `Arc` of an item that is queued as a box is never queued, and waiting for it would not end.

include!("common/item.rs");

use kernel::sync::Arc;

/// Waits for it.
pub fn wait(item: &Arc<Item>) -> Result {
    task_work::wait(item)?; // misuse: E0271
    let _ = (item, Mode::Resume);
    task_work::add(current!(), self::item()?, Mode::None)?;
    Ok(())
}
