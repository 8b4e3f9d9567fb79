// SPDX-License-Identifier: GPL-2.0

//! A closure runs in another task: it cannot capture a value that is bound to the adding task.

use kernel::{
    prelude::*,
    types::NotThreadSafe, //
};
use tether::task_work::{
    self,
    NotifyMode, //
};

/// Adds a closure without captures, and a closure that captures `guard`.
pub fn add(guard: NotThreadSafe) -> Result {
    let flags = GFP_KERNEL;
    task_work::add_fn(current!(), move |_| (), NotifyMode::Resume, flags)?;
    task_work::add_fn(current!(), move |_| _ = &guard, NotifyMode::Resume, flags)?; // misuse: E0277
    Ok(())
}
