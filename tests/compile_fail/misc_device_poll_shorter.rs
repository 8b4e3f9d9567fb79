// SPDX-License-Identifier: GPL-2.0

//! A task may sleep in `poll()` for as long as the file is open. Hence it can only wait on a
//! condition variable that is not freed before the file.

use kernel::{
    prelude::*,
    sync::{
        poll::PollCondVar,
        Arc,
        Mutex, //
    }, //
};
use tether::misc_device::PollTable;

/// The private data of a file.
pub struct Device {
    lives_on: Arc<PollCondVar>,
    replaced: Pin<KBox<Mutex<Arc<PollCondVar>>>>,
}

/// Registers the condition variable of the file, and then a condition variable that may be freed.
pub fn poll<'a>(device: &'a Device, table: &PollTable<'a>) {
    let replaced = device.replaced.lock().clone();
    table.register_wait(&device.lives_on);
    table.register_wait(&replaced); // misuse: E0597
    replaced.notify_all();
}
