// SPDX-License-Identifier: GPL-2.0

//! A driver cannot create the context of a system call in safe code.

use kernel::prelude::*;
use tether::{
    fd,
    syscall::SyscallContext, //
};

/// Closes a descriptor, and tries to create a context.
pub fn close(context: &SyscallContext<'_>) -> Result {
    drop(fd::take(context, 3, GFP_KERNEL)?);
    let _ = SyscallContext::new(); // misuse: E0133
    Ok(())
}
