// SPDX-License-Identifier: GPL-2.0

//! A box that is not pinned cannot be queued, because its contents could be moved.

include!("common/item.rs");

/// Adds a pinned box, and tries to add a movable box.
pub fn add(item: Pin<KBox<Item>>, movable: KBox<Item>) -> Result {
    task_work::add(current!(), item, NotifyMode::Resume)?;
    task_work::add(current!(), movable, NotifyMode::Resume)?; // misuse: E0277
    Ok(())
}
