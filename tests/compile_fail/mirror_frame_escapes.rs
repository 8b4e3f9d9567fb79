// SPDX-License-Identifier: GPL-2.0

//! A page of a process is only used under the lock that invalidations take.

use tether::mm::mirror::{
    Frame,
    Mirror,
    MirrorDevice, //
};

/// Finds it, and keeps it.
pub fn keep<T: MirrorDevice>(mirror: &Mirror<T>) {
    let mut kept = None;
    mirror.with_pages(|pages| {
        let frame = pages.get(0);
        kept = frame; // misuse: E0521
    });
    let _: Option<Frame<'_>> = kept;
}
