// SPDX-License-Identifier: GPL-2.0

//! A page of a mirror is only accessible under the lock that invalidations acquire.

use tether::mm::mirror::{
    Frame,
    Mirror,
    MirrorDevice, //
};

/// Tries to keep a page after the lock is released.
pub fn keep<T: MirrorDevice>(mirror: &Mirror<T>) {
    let mut kept = None;
    mirror.with_pages(|pages| {
        let frame = pages.get(0);
        kept = frame; // misuse: E0521
    });
    let _: Option<Frame<'_>> = kept;
}
