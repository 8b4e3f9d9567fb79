// SPDX-License-Identifier: GPL-2.0

//! An item in a box cannot be accessed after it was added, because `add()` consumes the box.

include!("common/item.rs");

/// Reads the item before and after it is added.
pub fn add(item: Pin<KBox<Item>>) -> Result {
    pr_info!("{}\n", item.value);
    task_work::add(current!(), item, NotifyMode::Resume)?;
    pr_info!("{}\n", item.value); // misuse: E0382
    Ok(())
}

const __LOG_PREFIX: &[u8] = b"compile_fail\0";
