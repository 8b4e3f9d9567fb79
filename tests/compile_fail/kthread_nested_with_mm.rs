// SPDX-License-Identifier: GPL-2.0

//! A thread is in one address space at a time.

use kernel::{
    mm::MmWithUser,
    prelude::*, //
};
use tether::kthread::Context;

/// Is in two.
pub fn nested(context: &Context<'_>, outer: &MmWithUser, inner: &MmWithUser) {
    context.with_mm(outer, || ());
    context.with_mm(outer, || context.with_mm(inner, || ())); // misuse: E0277
    context.with_mm(inner, || ());
}
