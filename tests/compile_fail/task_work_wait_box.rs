// SPDX-License-Identifier: GPL-2.0

//! An item that is queued in a box cannot be waited for through an `Arc`: an `Arc` of this type is
//! never queued.

include!("common/item.rs");

use kernel::sync::Arc;

/// Tries to wait for the item.
pub fn wait(item: &Arc<Item>) -> Result {
    task_work::wait(item)?; // misuse: E0271
    let _ = (item, NotifyMode::Resume);
    task_work::add(current!(), self::item()?, NotifyMode::None)?;
    Ok(())
}
