// SPDX-License-Identifier: GPL-2.0

//! Pages are looked up in an address space that has users: that it is kept is not enough.

use kernel::prelude::*;
use tether::mm::{
    hmm::Request,
    mirror::{
        Mirror,
        MirrorDevice, //
    },
    Mm, //
};

/// Looks a page up.
pub fn fault<T: MirrorDevice>(mirror: &Mirror<T>, mm: &Mm) -> Result {
    let user = mm.mmget_not_zero().ok_or(ESRCH)?;
    mirror.fault(&user, 0, 1, Request::Read, None)?;
    mirror.fault(mm, 0, 1, Request::Read, None)?; // misuse: E0308
    Ok(())
}
