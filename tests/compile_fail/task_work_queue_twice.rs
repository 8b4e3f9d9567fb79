// SPDX-License-Identifier: GPL-2.0

//! An item that was given to a task cannot be given again.

include!("common/item.rs");

/// Adds it.
pub fn add(item: Pin<KBox<Item>>) -> Result {
    task_work::add(current!(), item, Mode::Resume)?;
    task_work::add(current!(), item, Mode::Resume)?; // misuse: E0382
    Ok(())
}
