// SPDX-License-Identifier: GPL-2.0

//! A table for condition variables that live as long as the file is no table for others.

use kernel::sync::{
    poll::PollCondVar,
    Arc, //
};
use tether::misc_device::PollTable;

/// Waits for the first one.
pub fn poll<'a>(table: &PollTable<'a>, first: &'a Arc<PollCondVar>) {
    let second = first.clone();
    shorter(table, first);
    shorter(table, &second); // misuse: E0597
    second.notify_all();
}

/// Waits for it.
pub fn shorter<'b>(table: &PollTable<'b>, condition: &'b PollCondVar) {
    table.register_wait(condition);
}
