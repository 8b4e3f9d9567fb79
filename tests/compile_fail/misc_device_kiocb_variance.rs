// SPDX-License-Identifier: GPL-2.0

//! `Kiocb<'_, T>` is invariant in `T`: it cannot be coerced to a request of a supertype.

use kernel::prelude::*;
use tether::misc_device::Kiocb;

type Any<'a> = Kiocb<'a, KBox<for<'b> fn(&'b u8)>>;
type Static<'a> = Kiocb<'a, KBox<fn(&'static u8)>>;

/// Reads the file of both requests, and then coerces a request to a request of a supertype.
pub fn other(kiocb: Any<'_>, other: Static<'_>) {
    let _ = (kiocb.file(), other.file());
    let _: Static<'_> = kiocb; // misuse: E0308
}
