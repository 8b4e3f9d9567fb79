// SPDX-License-Identifier: GPL-2.0

//! A request to park cannot be made up by a body.

#![allow(unused_imports)]

use tether::kthread::{
    Context,
    Mode,
    Parkable, //
};

/// Parks a thread that no task has asked to park.
pub fn park(context: &Context<'_, Parkable>) {
    let _ = context.park_request();
    let _ = <Parkable as Mode>::request(context); // misuse: E0133
}
