// SPDX-License-Identifier: GPL-2.0

//! A request is not one for a file with data of another type, be it a supertype.

use kernel::prelude::*;
use tether::misc_device::Kiocb;

type Any<'a> = Kiocb<'a, KBox<for<'b> fn(&'b u8)>>;
type Static<'a> = Kiocb<'a, KBox<fn(&'static u8)>>;

/// Uses both.
pub fn other(kiocb: Any<'_>, other: Static<'_>) {
    let _ = (kiocb.file(), other.file());
    let _: Static<'_> = kiocb; // misuse: E0308
}
