// SPDX-License-Identifier: GPL-2.0

//! Closing file descriptors of the current task, from inside a system call.
//!
//! A system call may use a file through its descriptor without a reference of its own (`fdget()`):
//! it relies on nobody of its task closing that meanwhile. A driver that closes a descriptor on
//! behalf of user space, from inside an ioctl, may close the very one that the ioctl came by. So the
//! file has to stay until the task has left its system call: [`take`] takes the descriptor out of
//! the table, and the last reference to the file is dropped by a task work.
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
    task::Task,
    task_work::{
        self,
        is_kernel_thread,
        Context,
        Mode,
        TaskWork,
        TaskWorkItem, //
    }, //
};
use core::ptr;

/// A file that was taken out of a task's table of descriptors, and was closed there.
///
/// Dropping it, wherever that is, lets the file go as soon as that task is out of its system call.
pub struct TakenFile {
    /// None only while it is being dropped.
    held: Option<Pin<KBox<Held>>>,
}

/// What holds the file until its task comes by.
///
/// # Invariants
///
/// `file` is null, or a file that a reference is owned to.
#[pin_data(PinnedDrop)]
struct Held {
    file: *mut bindings::file,
    task: ARef<Task>,
    #[pin]
    work: TaskWork<Held>,
}

// SAFETY: A reference to a file may be dropped by any task; that this one waits for the right one is
// what `TakenFile` is for.
unsafe impl Send for Held {}

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
            // SAFETY: The reference is ours, by the type's invariants.
            unsafe { bindings::fput(self.file) };
        }
    }
}

/// Takes the descriptor `fd` out of the current task's table, and closes it there.
///
/// From then on it is free for others. POSIX locks and the like are released, as by `close()`; the
/// file itself stays until the [`TakenFile`] is dropped and the task has left its system call.
///
/// May sleep, as the file's `flush` may.
///
/// # Errors
///
/// * [`EBADF`] if there is no such descriptor;
/// * [`ESRCH`] if the task has no table any more: it is exiting. Its files are closed already, and
///   works that run this late find a null pointer where the table was;
/// * [`EINVAL`] if the current task is a kernel thread, which leaves no system call;
/// * [`ENOMEM`]. Then, as with the others, nothing was closed.
#[doc(alias = "file_close_fd")]
pub fn take(fd: u32, flags: Flags) -> Result<TakenFile> {
    let task = current!();
    if is_kernel_thread(task) {
        return Err(EINVAL);
    }
    // SAFETY: Only the current task changes its table.
    let files = unsafe { (*task.as_ptr()).files };
    if files.is_null() {
        return Err(ESRCH);
    }
    // Before the descriptor is gone, as this may fail.
    let mut held = KBox::pin_init(
        pin_init!(Held {
            file: ptr::null_mut(),
            task: ARef::from(&**task),
            work <- TaskWork::new(),
        }),
        flags,
    )?;
    // SAFETY: The current task has a table, as tested above. The table's reference becomes ours.
    let file = unsafe { bindings::file_close_fd(fd) };
    if file.is_null() {
        return Err(EBADF);
    }
    // SAFETY: The file is valid, by the reference of the table. This one is for `held`.
    unsafe { bindings::get_file(file) };
    // INVARIANT: The reference was just taken.
    *held.as_mut().project().file = file;
    // SAFETY: This drops the table's reference, as closing does; that of `held` is left, so that
    // the file stays for who may use it without one.
    unsafe { bindings::filp_close(file, files.cast()) };
    Ok(TakenFile { held: Some(held) })
}

impl Drop for TakenFile {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            let task = held.task.clone();
            // A task that takes no more works has left its last system call: it may go here.
            let _ = task_work::add(&task, held, Mode::Resume);
        }
    }
}
