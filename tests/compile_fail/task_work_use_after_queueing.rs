// SPDX-License-Identifier: GPL-2.0

//! An item that was given to a task is not looked at any more.

include!("common/item.rs");

/// Adds it.
pub fn add(item: Pin<KBox<Item>>) -> Result {
    pr_info!("{}\n", item.value);
    task_work::add(current!(), item, Mode::Resume)?;
    pr_info!("{}\n", item.value); // misuse: E0382
    Ok(())
}

const __LOG_PREFIX: &[u8] = b"compile_fail\0";
