// SPDX-License-Identifier: GPL-2.0

//! A box that could be moved cannot be linked.

include!("common/item.rs");

/// Adds it.
pub fn add(item: Pin<KBox<Item>>, movable: KBox<Item>) -> Result {
    task_work::add(current!(), item, Mode::Resume)?;
    task_work::add(current!(), movable, Mode::Resume)?; // misuse: E0277
    Ok(())
}
