// SPDX-License-Identifier: GPL-2.0

//! An item in a box cannot be added twice, because `add()` consumes the box.

include!("common/item.rs");

/// Adds the same item twice.
pub fn add(item: Pin<KBox<Item>>) -> Result {
    task_work::add(current!(), item, NotifyMode::Resume)?;
    task_work::add(current!(), item, NotifyMode::Resume)?; // misuse: E0382
    Ok(())
}
