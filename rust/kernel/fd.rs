// SPDX-License-Identifier: GPL-2.0

//! Closing file descriptors of the current task, from inside a system call.
//!
//! A system call may use a file through its descriptor without taking a reference (`fdget()`), and
//! relies on its task not closing this descriptor meanwhile. A driver that closes a descriptor on
//! behalf of user space, from inside an ioctl, may close the descriptor of the same ioctl. Hence
//! the file must not be released before the system call has ended: [`take`] removes the descriptor
//! from the table, and the last reference to the file is dropped by a task work.
//!
//! A task work or a `release` must not close descriptors in this way. It may run in the middle of a
//! system call that has borrowed the file, such as `KVM_RUN`, which runs the pending task works
//! before it enters the guest; another task work would then release the file immediately. Hence
//! [`take`] requires a [`SyscallContext`], which only an ioctl handler has.
//!
//! C sources: `binder_deferred_fd_close()` in
//! [`drivers/android/binder.c`](srctree/drivers/android/binder.c),
//! `file_close_fd()` in [`fs/file.c`](srctree/fs/file.c).

use crate::{
    alloc::Flags,
    bindings,
    current,
    impl_has_task_work,
    prelude::*,
    sync::aref::ARef,
    syscall::SyscallContext,
    task::Task,
    task_work::{
        self,
        Context,
        NotifyMode,
        TaskWork,
        TaskWorkItem, //
    }, //
};
use core::ptr;

/// A file that [`take`] has removed from the descriptor table.
///
/// Dropping it releases the file after the task that has called [`take`] has left that system call,
/// even if another task drops it.
///
/// # Context
///
/// May be dropped in any context but NMI.
pub struct TakenFile {
    /// `None` only while the value is being dropped.
    held: Option<Pin<KBox<Held>>>,
}

/// The task work that holds the file until the task runs it.
///
/// # Invariants
///
/// `file` is null, or a file to which a reference is owned.
#[pin_data(PinnedDrop)]
struct Held {
    file: *mut bindings::file,
    task: ARef<Task>,
    #[pin]
    work: TaskWork<Held>,
}

// SAFETY: A reference to a file may be dropped by any task, and the other fields are `Send`.
unsafe impl Send for Held {}
// SAFETY: No method accesses `file` through a shared reference, and the other fields are `Sync`.
unsafe impl Sync for Held {}

impl_has_task_work! {
    impl HasTaskWork<Self> for Held { self.work }
}

impl TaskWorkItem for Held {
    type Pointer = Pin<KBox<Self>>;

    fn run(this: Pin<KBox<Self>>, _context: &Context<'_>) {
        drop(this);
    }
}

#[pinned_drop]
impl PinnedDrop for Held {
    fn drop(self: Pin<&mut Self>) {
        if !self.file.is_null() {
            // SAFETY: `fput()` requires a file reference that is ours. By the type's invariants
            // `file` is a file to which a reference is owned, which is dropped once.
            unsafe { bindings::fput(self.file) };
        }
    }
}

/// Removes the descriptor `fd` from the table of the current task, and closes it there.
///
/// The number can be reused immediately. POSIX locks are released, as by `close()`. The file itself
/// is released after the [`TakenFile`] was dropped and the task has left its system call.
///
/// `_context` proves that the current task executes a system call, and does not run task works
/// before this system call has ended. If the file is borrowed by `fdget()`, it is borrowed by this
/// system call: a later system call does not find the descriptor, and tasks that share the table
/// take references.
///
/// # Context
///
/// Process context, may sleep, because the file's `flush` may sleep.
///
/// # Errors
///
/// If this fails, the descriptor is not closed.
///
/// * [`EBADF`] if the descriptor is not open;
/// * [`ENOMEM`] if there is not enough memory.
#[doc(alias = "file_close_fd")]
pub fn take(_context: &SyscallContext<'_>, fd: u32, flags: Flags) -> Result<TakenFile> {
    let task = current!();
    // SAFETY: The current task is valid, and only the task itself changes the pointer to its table.
    let files = unsafe { (*task.as_ptr()).files };
    // Allocate before the descriptor is closed, because the allocation may fail.
    let mut held = KBox::pin_init(
        // INVARIANT: `file` is null.
        pin_init!(Held {
            file: ptr::null_mut(),
            task: ARef::from(&**task),
            work <- TaskWork::new(),
        }),
        flags,
    )?;
    // SAFETY: `file_close_fd()` requires that the current task has a descriptor table, which a task
    // that executes a system call has. The table's reference to the file is passed to us.
    let file = unsafe { bindings::file_close_fd(fd) };
    if file.is_null() {
        return Err(EBADF);
    }
    // SAFETY: `get_file()` requires a valid file. The table's reference, which is ours now, keeps
    // it valid. The new reference is for `held`.
    unsafe { bindings::get_file(file) };
    // INVARIANT: The reference was taken above, and `held` owns it.
    *held.as_mut().project().file = file;
    // SAFETY: `filp_close()` requires a file reference that is ours, which it drops, and the table
    // that the file was in. The table's reference is ours, and `files` is this table. The reference
    // of `held` remains, so that the file is not released here.
    unsafe { bindings::filp_close(file, files.cast()) };
    Ok(TakenFile { held: Some(held) })
}

impl Drop for TakenFile {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            let task = held.task.clone();
            // The task may sleep in a later system call, for an event that the release causes.
            let mode = if ptr::eq(task.as_ptr(), Task::current_raw()) {
                NotifyMode::Resume
            } else {
                NotifyMode::Signal
            };
            // The work is only refused if the task runs no more works. Such a task has left its
            // last system call and uses no borrowed file, so that the reference may be dropped
            // here. A task that is being killed may still use one. `fput()` defers the release if
            // this is an interrupt.
            let _ = task_work::add_other(&task, held, mode);
        }
    }
}
