// SPDX-License-Identifier: GPL-2.0

//! The context of a callback cannot leave it.

use kernel::{
    prelude::*,
    task::CurrentTask, //
};
use tether::task_work::{
    self,
    Context,
    Mode, //
};

/// Keeps a task for ever.
pub fn keep(_: &'static CurrentTask) {}

/// Adds one.
pub fn add() -> Result {
    fn callback(context: &Context<'_>) {
        let _ = context.task().pid();
        keep(context.task()); // misuse: E0521
    }
    task_work::add_fn(current!(), callback, Mode::Resume, GFP_KERNEL)?;
    Ok(())
}
