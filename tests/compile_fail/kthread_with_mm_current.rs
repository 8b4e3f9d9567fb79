// SPDX-License-Identifier: GPL-2.0

//! What the current task was outside, it is not in another address space.

use kernel::{
    mm::MmWithUser,
    prelude::*, //
};
use tether::kthread::Context;

/// Asks for the address space of the current task.
pub fn ask(context: &Context<'_>, mm: &MmWithUser) {
    let task = current!();
    let _ = context.with_mm(mm, || current!().mm().is_some());
    let _ = context.with_mm(mm, || task.mm().is_some()); // misuse: E0277
    let _ = task.mm().is_some();
}
