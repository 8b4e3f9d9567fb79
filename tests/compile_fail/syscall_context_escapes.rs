// SPDX-License-Identifier: GPL-2.0

//! The context of a system call cannot outlive the handler.

use kernel::prelude::*;
use tether::{
    fd,
    syscall::SyscallContext, //
};

/// Closes a descriptor, and tries to keep the context.
pub fn close(context: &SyscallContext<'_>) -> Result {
    drop(fd::take(context, 3, GFP_KERNEL)?);
    keep(context); // misuse: E0521
    Ok(())
}

/// Would be able to call `fd::take()` at any later time.
pub fn keep(_context: &'static SyscallContext<'static>) {}
