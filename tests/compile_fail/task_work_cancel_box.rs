// SPDX-License-Identifier: GPL-2.0

//! An item in a box cannot be cancelled: the task's list of works is linked through its memory.

include!("common/item.rs");

/// Tries to cancel the item, and adds the item.
pub fn add(item: Pin<KBox<Item>>) -> Result {
    let _ = task_work::cancel(current!(), &item); // misuse: E0308
    task_work::add(current!(), item, NotifyMode::Resume)?;
    Ok(())
}
