// SPDX-License-Identifier: GPL-2.0

//! A task work cannot close descriptors: it may run inside a system call that has borrowed the
//! file. The context that `fd::take()` needs is not `Send`, so the closure cannot capture it.

use kernel::prelude::*;
use tether::{
    fd,
    syscall::SyscallContext,
    task_work::{
        self,
        Context,
        NotifyMode, //
    }, //
};

/// Closes descriptor 3 in the ioctl, and tries to close descriptor 4 in a task work.
pub fn close(context: &SyscallContext<'_>) -> Result {
    drop(fd::take(context, 3, GFP_KERNEL)?);
    add(move |_| ())?;
    add(move |_| _ = fd::take(context, 4, GFP_KERNEL))?; // misuse: E0277
    Ok(())
}

fn add(work: impl FnOnce(&Context<'_>) + Send + 'static) -> Result {
    task_work::add_fn(current!(), work, NotifyMode::Resume, GFP_KERNEL)?;
    Ok(())
}
