// SPDX-License-Identifier: GPL-2.0

//! No reference can be taken to a file that is being opened or released: it may be freed
//! afterwards.

use kernel::{
    fs::File,
    sync::aref::ARef, //
};
use tether::misc_device::TransientFile;

/// Takes references.
pub fn references(whole: &File, transient: &TransientFile) -> (ARef<File>, u32) {
    let flags = transient.flags();
    let _ = ARef::from(transient); // misuse: E0277
    (ARef::from(whole), flags)
}
