// SPDX-License-Identifier: GPL-2.0

//! `Mirror::fault()` needs a reference to `mm_users`; a reference to `mm_count` is not enough.

use kernel::prelude::*;
use tether::mm::{
    hmm::Request,
    mirror::{
        Mirror,
        MirrorDevice, //
    },
    Mm, //
};

/// Faults pages in with an `MmWithUser`, and tries the same with an `Mm`.
pub fn fault<T: MirrorDevice>(mirror: &Mirror<T>, mm: &Mm) -> Result {
    let user = mm.mmget_not_zero().ok_or(ESRCH)?;
    mirror.fault(&user, 0, 1, Request::Read, None)?;
    mirror.fault(mm, 0, 1, Request::Read, None)?; // misuse: E0308
    Ok(())
}
