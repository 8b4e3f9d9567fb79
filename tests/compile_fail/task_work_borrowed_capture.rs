// SPDX-License-Identifier: GPL-2.0

//! A closure cannot capture a borrowed value, because it runs later.

use kernel::prelude::*;
use tether::task_work::{
    self,
    NotifyMode, //
};

fn look(_: u32) {}

/// Adds a closure that owns its value, and a closure that borrows its value.
pub fn add(shared: &u32) -> Result {
    let owned = *shared;
    let (mode, flags) = (NotifyMode::Resume, GFP_KERNEL);
    task_work::add_fn(current!(), move |_| look(owned), mode, flags)?;
    task_work::add_fn(current!(), move |_| look(*shared), mode, flags)?; // misuse: E0521
    Ok(())
}
