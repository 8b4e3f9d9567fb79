// SPDX-License-Identifier: GPL-2.0

//! A driver cannot make the context of a system call.

use kernel::prelude::*;
use tether::{
    fd,
    syscall::SyscallContext, //
};

/// Closes a descriptor.
pub fn close(context: &SyscallContext<'_>) -> Result {
    drop(fd::take(context, 3, GFP_KERNEL)?);
    let _ = unsafe { SyscallContext::new() }; // misuse: E0624
    Ok(())
}
