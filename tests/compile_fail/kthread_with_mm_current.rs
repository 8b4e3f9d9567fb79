// SPDX-License-Identifier: GPL-2.0

//! The closure of `with_mm()` must be `Send`. Hence it cannot capture an outer `current!()`: inside
//! the closure, the task has another address space.

use kernel::{
    mm::MmWithUser,
    prelude::*, //
};
use tether::kthread::Context;

/// Reads the address space of the current task inside and outside `with_mm()`.
pub fn ask(context: &Context<'_>, mm: &MmWithUser) {
    let task = current!();
    let _ = context.with_mm(mm, || current!().mm().is_some());
    let _ = context.with_mm(mm, || task.mm().is_some()); // misuse: E0277
    let _ = task.mm().is_some();
}
