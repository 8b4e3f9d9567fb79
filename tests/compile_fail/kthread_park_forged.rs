// SPDX-License-Identifier: GPL-2.0

//! The body of a thread cannot create a request to park.

#![allow(unused_imports)]

use tether::kthread::{
    Context,
    Mode,
    Parkable, //
};

/// Reads the pending request, and then tries to create a request.
pub fn park(context: &Context<'_, Parkable>) {
    let _ = context.park_request();
    let _ = <Parkable as Mode>::request(context); // misuse: E0133
}
