// SPDX-License-Identifier: GPL-2.0

//! A thread uses one address space at a time: `with_mm()` cannot be nested.

use kernel::{
    mm::MmWithUser,
    prelude::*, //
};
use tether::kthread::Context;

/// Calls `with_mm()` three times, of which the second call nests another one.
pub fn nested(context: &Context<'_>, outer: &MmWithUser, inner: &MmWithUser) {
    context.with_mm(outer, || ());
    context.with_mm(outer, || context.with_mm(inner, || ())); // misuse: E0277
    context.with_mm(inner, || ());
}
