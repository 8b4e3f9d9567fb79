// SPDX-License-Identifier: GPL-2.0

//! The file operations of all misc devices, in Tether's own text.

use super::{
    Device,
    Ready,
    Table, //
};
use crate::{
    bindings,
    container_of,
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc,
        ArcBorrow, //
    },
    task::Task,
    tether::{
        Owner,
        OPENING, //
    },
    types::Opaque, //
};
use core::ptr;

/// An open file.
///
/// # Invariants
///
/// * `table` is that of the device that the file is of. It is valid, as a pin of `owner` is owned.
/// * `private` was returned by the `open` of that table, and was not passed to its `release`.
struct OpenFile {
    table: *const Table,
    owner: &'static Owner,
    private: *mut c_void,
}

impl OpenFile {
    /// Returns the open file that is the private data of `file`.
    ///
    /// # Safety
    ///
    /// `file` must be an open file of a misc device of this file, valid for `'a`.
    unsafe fn from_raw<'a>(file: *mut bindings::file) -> &'a Self {
        // SAFETY: The caller guarantees that `open()` has succeeded, which has stored a box of this
        // type, and that `release()` does not run during `'a`, which frees the box.
        unsafe { &*(*file).private_data.cast() }
    }

    /// Returns the table of the driver's functions.
    fn table(&self) -> &Table {
        // SAFETY: By the type's invariants the table is valid as long as this exists.
        unsafe { &*self.table }
    }
}

/// A `file_operations` in Tether's own data. Its functions are those below, which the kernel calls.
pub(super) struct Operations(pub(super) bindings::file_operations);

// SAFETY: The operations are never changed.
unsafe impl Sync for Operations {}

impl Operations {
    /// `owner` is null, as Tether cannot be unloaded.
    const fn new(poll: bool) -> Self {
        Self(bindings::file_operations {
            open: Some(open),
            release: Some(release),
            flush: Some(flush),
            mmap: Some(mmap),
            read_iter: Some(read_iter),
            write_iter: Some(write_iter),
            unlocked_ioctl: Some(ioctl),
            #[cfg(CONFIG_COMPAT)]
            compat_ioctl: Some(compat_ioctl),
            poll: if poll { Some(self::poll) } else { None },
            show_fdinfo: Some(show_fdinfo),
            ..pin_init::zeroed()
        })
    }
}

/// The operations of devices that can be polled.
pub(super) static POLLED: Operations = Operations::new(true);
/// The operations of those that cannot: the kernel looks whether `poll` is there.
pub(super) static PLAIN: Operations = Operations::new(false);

/// # Safety
///
/// Only called by `misc_open()`, for a file that has one of the operations above.
#[inline(never)]
unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: The kernel passes a valid inode and file.
    let error = unsafe { bindings::generic_file_open(inode, file) };
    if error != 0 {
        return error;
    }
    // SAFETY: `misc_open()` has stored the `struct miscdevice` there, which is in a device.
    let device = unsafe {
        container_of!(
            Opaque::cast_from((*file).private_data.cast::<bindings::miscdevice>()).cast_mut(),
            Device,
            misc
        )
    };
    // SAFETY: The device is in an `Arc`, and cannot be deregistered while `misc_open()` holds its
    // mutex; a registered device is referenced by its owner's list, by the work that deregisters
    // it, or by the end of its owner.
    let device: Arc<Device> = unsafe { ArcBorrow::from_raw(device.cast_const()) }.into();
    // SAFETY: The file is being opened, and its device is registered.
    match unsafe { open_device(&device, file) } {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// Opens a file of a device that cannot be deregistered meanwhile.
///
/// # Safety
///
/// `file` must be a valid file that is being opened by `misc_open()`.
unsafe fn open_device(device: &Arc<Device>, file: *mut bindings::file) -> Result {
    let uninit = KBox::<OpenFile>::new_uninit(GFP_KERNEL)?;
    device.pin_owner()?;
    OPENING.store(Task::current_raw(), Relaxed);
    // SAFETY: The table is valid, as the owner was pinned while the device was not `DEAD`, and it
    // is the device's. The caller guarantees that the file is being opened.
    let private = unsafe { ((*device.table).open)(file, device) };
    OPENING.store(ptr::null_mut(), Relaxed);
    match private {
        Ok(private) => {
            // INVARIANT: The pin that was taken above is the file's, and `private` was returned by
            // the table's `open`.
            let open = uninit.write(OpenFile {
                table: device.table,
                owner: device.owner,
                private,
            });
            // SAFETY: The file is being opened, so that its private data is ours to set.
            unsafe { (*file).private_data = KBox::into_raw(open).cast() };
            Ok(())
        }
        Err(error) => {
            // SAFETY: The pin was taken above, and this is Tether's own text.
            unsafe { device.owner.unpin() };
            Err(error)
        }
    }
}

/// # Safety
///
/// Only called by the kernel, for a file that [`open`] has opened, when it has no more users.
#[inline(never)]
unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: `open()` has stored a box there, and nothing uses the file's private data any more.
    let open: KBox<OpenFile> = unsafe { KBox::from_raw((*file).private_data.cast()) };
    // SAFETY: By the type's invariants, `private` was returned by the `open` of the same table. It
    // is not used afterwards, as the box is freed here.
    unsafe { (open.table().release)(open.private, file) };
    let owner = open.owner;
    drop(open);
    // SAFETY: The pin was that of the open file, by the type's invariants, and this is Tether's own
    // text. The driver's function has returned.
    unsafe { owner.unpin() };
    0
}

/// # Safety
///
/// Only called by the kernel, for a file that [`open`] has opened.
#[inline(never)]
unsafe extern "C" fn flush(file: *mut bindings::file, _owner: bindings::fl_owner_t) -> c_int {
    // SAFETY: The kernel holds a reference to the open file during the call.
    let open = unsafe { OpenFile::from_raw(file) };
    let Some(flush) = open.table().flush else {
        return 0;
    };
    // SAFETY: By the type's invariants, `private` belongs to the table, and was not released. The
    // file is the kernel's.
    match unsafe { flush(open.private, file) } {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// # Safety
///
/// Only called by the kernel, for a file that [`open`] has opened.
#[inline(never)]
unsafe extern "C" fn mmap(file: *mut bindings::file, vma: *mut bindings::vm_area_struct) -> c_int {
    // SAFETY: The kernel holds a reference to the open file during the call.
    let open = unsafe { OpenFile::from_raw(file) };
    let Some(mmap) = open.table().mmap else {
        return ENODEV.to_errno();
    };
    // SAFETY: By the type's invariants, `private` belongs to the table, and was not released. The
    // other pointers are the kernel's.
    match unsafe { mmap(open.private, file, vma) } {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// Returns the result of an ioctl as the kernel expects it.
fn returned(result: Result<isize>) -> isize {
    result.unwrap_or_else(|error| error.to_errno() as isize)
}

/// Returns the result of a read or a write as the kernel expects it.
///
/// Callers in the kernel trust the number of bytes, and an `EIOCBQUEUED` promises that the request
/// is completed later, which no driver can do here.
fn transferred(
    iter: *mut bindings::iov_iter,
    call: impl FnOnce(*mut bindings::iov_iter) -> Result<usize>,
) -> isize {
    // SAFETY: The iterator is the kernel's, which is valid during the call.
    let wanted = unsafe { bindings::tether_iov_iter_count(iter) };
    match call(iter) {
        Ok(count) if count <= wanted => count as isize,
        Ok(_) => EIO.to_errno() as isize,
        Err(error) if error.to_errno() == -(bindings::EIOCBQUEUED as c_int) => {
            EIO.to_errno() as isize
        }
        Err(error) => error.to_errno() as isize,
    }
}

/// # Safety
///
/// Only called by the kernel, for a file that [`open`] has opened.
#[inline(never)]
unsafe extern "C" fn read_iter(
    kiocb: *mut bindings::kiocb,
    iter: *mut bindings::iov_iter,
) -> isize {
    // SAFETY: The request holds a reference to its open file during the call.
    let open = unsafe { OpenFile::from_raw((*kiocb).ki_filp) };
    let Some(read_iter) = open.table().read_iter else {
        return EINVAL.to_errno() as isize;
    };
    transferred(iter, |iter| {
        // SAFETY: By the type's invariants, `private` belongs to the table, and was not released.
        // The other pointers are the kernel's.
        unsafe { read_iter(open.private, kiocb, iter) }
    })
}

/// # Safety
///
/// Only called by the kernel, for a file that [`open`] has opened.
#[inline(never)]
unsafe extern "C" fn write_iter(
    kiocb: *mut bindings::kiocb,
    iter: *mut bindings::iov_iter,
) -> isize {
    // SAFETY: The request holds a reference to its open file during the call.
    let open = unsafe { OpenFile::from_raw((*kiocb).ki_filp) };
    let Some(write_iter) = open.table().write_iter else {
        return EINVAL.to_errno() as isize;
    };
    transferred(iter, |iter| {
        // SAFETY: By the type's invariants, `private` belongs to the table, and was not released.
        // The other pointers are the kernel's.
        unsafe { write_iter(open.private, kiocb, iter) }
    })
}

/// # Safety
///
/// Only called by the kernel, for a file that [`open`] has opened.
#[inline(never)]
unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
    // SAFETY: The kernel holds a reference to the open file during the call.
    let open = unsafe { OpenFile::from_raw(file) };
    let Some(ioctl) = open.table().ioctl else {
        return ENOTTY.to_errno() as c_long;
    };
    // SAFETY: By the type's invariants, `private` belongs to the table, and was not released. The
    // file is the kernel's.
    returned(unsafe { ioctl(open.private, file, cmd, arg) }) as c_long
}

/// # Safety
///
/// Only called by the kernel, for a file that [`open`] has opened.
#[cfg(CONFIG_COMPAT)]
#[inline(never)]
unsafe extern "C" fn compat_ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
    // SAFETY: The kernel holds a reference to the open file during the call.
    let open = unsafe { OpenFile::from_raw(file) };
    match (open.table().compat_ioctl, bindings::compat_ptr_ioctl) {
        // SAFETY: By the type's invariants, `private` belongs to the table, and was not released.
        // The file is the kernel's.
        (Some(ioctl), _) => returned(unsafe { ioctl(open.private, file, cmd, arg) }) as c_long,
        // SAFETY: The kernel's own function calls `ioctl()` above, with the same file.
        (None, Some(compat_ptr_ioctl)) => unsafe { compat_ptr_ioctl(file, cmd, arg) },
        (None, None) => ENOTTY.to_errno() as c_long,
    }
}

/// # Safety
///
/// Only called by the kernel, for a file that [`open`] has opened.
#[inline(never)]
unsafe extern "C" fn poll(
    file: *mut bindings::file,
    table: *mut bindings::poll_table_struct,
) -> bindings::__poll_t {
    // SAFETY: The kernel holds a reference to the open file during the call.
    let open = unsafe { OpenFile::from_raw(file) };
    match open.table().poll {
        // SAFETY: By the type's invariants, `private` belongs to the table, and was not released.
        // The other pointers are the kernel's.
        Some(poll) => unsafe { poll(open.private, file, table) }.0,
        None => Ready::ERROR.0,
    }
}

/// # Safety
///
/// Only called by the kernel, for a file that [`open`] has opened.
#[inline(never)]
unsafe extern "C" fn show_fdinfo(m: *mut bindings::seq_file, file: *mut bindings::file) {
    // SAFETY: The kernel holds a reference to the open file during the call.
    let open = unsafe { OpenFile::from_raw(file) };
    if let Some(show_fdinfo) = open.table().show_fdinfo {
        // SAFETY: By the type's invariants, `private` belongs to the table, and was not released.
        // The other pointers are the kernel's.
        unsafe { show_fdinfo(open.private, m, file) };
    }
}
