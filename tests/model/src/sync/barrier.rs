// SPDX-License-Identifier: GPL-2.0

//! A stand-in for `kernel::sync::barrier`, based on the fences of `loom`.

use crate::sync::atomic::Full;
use loom::sync::atomic::{
    fence,
    Ordering, //
};

/// As in the kernel crate.
pub fn smp_mb(_: Full) {
    fence(Ordering::SeqCst);
}
