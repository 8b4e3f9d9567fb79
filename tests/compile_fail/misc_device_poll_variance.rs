// SPDX-License-Identifier: GPL-2.0

//! The lifetime of a `PollTable` cannot be shortened.

use kernel::sync::{
    poll::PollCondVar,
    Arc, //
};
use tether::misc_device::PollTable;

/// Passes a condition variable that lives as long as the file, and then a local reference to it.
pub fn poll<'a>(table: &PollTable<'a>, first: &'a Arc<PollCondVar>) {
    let second = first.clone();
    shorter(table, first);
    shorter(table, &second); // misuse: E0597
    second.notify_all();
}

/// Registers `condition`.
pub fn shorter<'b>(table: &PollTable<'b>, condition: &'b PollCondVar) {
    table.register_wait(condition);
}
