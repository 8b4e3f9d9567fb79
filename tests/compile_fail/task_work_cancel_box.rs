// SPDX-License-Identifier: GPL-2.0

//! A box cannot be cancelled: the list goes through its memory.

include!("common/item.rs");

/// Adds it.
pub fn add(item: Pin<KBox<Item>>) -> Result {
    let _ = task_work::cancel(current!(), &item); // misuse: E0308
    task_work::add(current!(), item, Mode::Resume)?;
    Ok(())
}
