// SPDX-License-Identifier: GPL-2.0

//! A task work may run in the middle of a system call that has borrowed the file: it cannot close
//! descriptors, as the context of an ioctl cannot be sent to it.

use kernel::prelude::*;
use tether::{
    fd,
    syscall::SyscallContext,
    task_work::{
        self,
        Context,
        Mode, //
    }, //
};

/// Closes a descriptor, and tries to close another one later.
pub fn close(context: &SyscallContext<'_>) -> Result {
    drop(fd::take(context, 3, GFP_KERNEL)?);
    add(move |_| ())?;
    add(move |_| _ = fd::take(context, 4, GFP_KERNEL))?; // misuse: E0277
    Ok(())
}

fn add(work: impl FnOnce(&Context<'_>) + Send + 'static) -> Result {
    task_work::add_fn(current!(), work, Mode::Resume, GFP_KERNEL)?;
    Ok(())
}
