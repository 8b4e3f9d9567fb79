// SPDX-License-Identifier: GPL-2.0

//! The context of a callback cannot outlive the callback.

use kernel::{
    prelude::*,
    task::CurrentTask, //
};
use tether::task_work::{
    self,
    Context,
    NotifyMode, //
};

/// Accepts a task reference that never expires.
pub fn keep(_: &'static CurrentTask) {}

/// Adds a callback that tries to keep its task.
pub fn add() -> Result {
    fn callback(context: &Context<'_>) {
        let _ = context.task().pid();
        keep(context.task()); // misuse: E0521
    }
    task_work::add_fn(current!(), callback, NotifyMode::Resume, GFP_KERNEL)?;
    Ok(())
}
