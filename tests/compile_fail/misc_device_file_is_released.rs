// SPDX-License-Identifier: GPL-2.0

//! A reference to a file that is being opened or released cannot be taken, because the file may be
//! freed when the callback returns.

use kernel::{
    fs::File,
    sync::aref::ARef, //
};
use tether::misc_device::TransientFile;

/// Takes a reference to a `File`, and tries to take a reference to a `TransientFile`.
pub fn references(whole: &File, transient: &TransientFile) -> (ARef<File>, u32) {
    let flags = transient.flags();
    let _ = ARef::from(transient); // misuse: E0277
    (ARef::from(whole), flags)
}
