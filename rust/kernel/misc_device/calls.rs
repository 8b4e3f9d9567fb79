// SPDX-License-Identifier: GPL-2.0

//! Functions that call a driver's [`MiscDevice`], and convert the kernel's pointers to Rust types.
//!
//! This code is monomorphised in the driver's module.

use super::{
    Device,
    Kiocb,
    MiscDevice,
    MiscDeviceRegistration,
    PollTable,
    Ready,
    Table,
    TransientFile, //
};
use crate::{
    bindings,
    fs::File,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    mm::virt::VmaNew,
    prelude::*,
    seq_file::SeqFile,
    sync::Arc,
    syscall::SyscallContext,
    tether::AttachmentOps,
    types::ForeignOwnable, //
};
use core::{
    any::type_name,
    marker::PhantomData,
    ptr, //
};

/// The functions of the driver's [`Table`].
///
/// They are monomorphised in the driver's module. Tether's file operations call them while this
/// module is pinned.
///
/// All functions but `open` have these safety requirements: `open` of the same `T` must have
/// returned `private`, and no other call of `release` may use `private` before the function
/// returns. The other pointers must be those that the kernel has passed to the file operation of
/// the same name.
pub(super) struct Calls<T>(PhantomData<*mut T>);

impl<T: MiscDevice> Calls<T> {
    /// The table of `T`. An optional function is `None` if the driver does not implement it.
    pub(super) const TABLE: &'static Table = &Table {
        open: Self::open,
        release: Self::release,
        flush: if T::HAS_FLUSH {
            Some(Self::flush)
        } else {
            None
        },
        mmap: if T::HAS_MMAP { Some(Self::mmap) } else { None },
        read_iter: if T::HAS_READ_ITER {
            Some(Self::read_iter)
        } else {
            None
        },
        write_iter: if T::HAS_WRITE_ITER {
            Some(Self::write_iter)
        } else {
            None
        },
        ioctl: if T::HAS_IOCTL_IN_SYSCALL {
            Some(Self::ioctl_in_syscall)
        } else if T::HAS_IOCTL {
            Some(Self::ioctl)
        } else {
            None
        },
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: if T::HAS_COMPAT_IOCTL {
            Some(Self::compat_ioctl)
        } else {
            None
        },
        poll: if T::HAS_POLL { Some(Self::poll) } else { None },
        show_fdinfo: if T::HAS_SHOW_FDINFO {
            Some(Self::show_fdinfo)
        } else {
            None
        },
    };

    /// The operations of the attachment of a device, for the teardown of the driver's module.
    pub(super) const ATTACHMENT_OPS: &'static AttachmentOps = &AttachmentOps {
        kind: "misc_device",
        name: type_name::<T>,
        request: None,
        end: Device::end,
        discard: None,
        release: Some(Device::release_attached),
    };

    /// # Safety
    ///
    /// `file` must be a valid file that is being opened. `device` must have been registered with
    /// the table of `T`.
    unsafe fn open(file: *mut bindings::file, device: &Arc<Device>) -> Result<*mut c_void> {
        // SAFETY: The cast requires that both types have the same layout and validity.
        // `MiscDeviceRegistration` is a transparent wrapper of an `Arc<Device>`, and the caller
        // guarantees that the device was registered with the table of the same `T`. `device` is
        // only borrowed, so the destructor of the registration does not run.
        let misc = unsafe { &*ptr::from_ref(device).cast::<MiscDeviceRegistration<T>>() };
        // SAFETY: `from_raw()` requires a valid file that is being opened or released. The caller
        // guarantees that the file is valid and is being opened.
        let file = unsafe { TransientFile::from_raw(file) };
        T::open(file, misc).map(ForeignOwnable::into_foreign)
    }

    /// # Safety
    ///
    /// The requirements are those of [`Calls`]. `private` must not be used afterwards.
    pub(super) unsafe fn release(private: *mut c_void, file: *mut bindings::file) {
        // SAFETY: `from_foreign()` requires a pointer that `into_foreign()` has returned, that is
        // passed to `from_foreign()` once, and that is not borrowed. The caller guarantees that
        // `open()` has returned `private`, which is a result of `into_foreign()`, and that
        // `private` is not used afterwards. No other method runs, as the file has no more users.
        let device = unsafe { T::Ptr::from_foreign(private) };
        // SAFETY: `from_raw()` requires a valid file that is being opened or released. The caller
        // guarantees that the kernel has passed `file` to the operation `release`.
        T::release(device, unsafe { TransientFile::from_raw(file) });
    }

    /// # Safety
    ///
    /// The requirements are those of [`Calls`].
    unsafe fn flush(private: *mut c_void, file: *mut bindings::file) -> Result {
        // SAFETY: `borrow()` requires a pointer that `into_foreign()` has returned, and that is not
        // passed to `from_foreign()` while it is borrowed. The caller guarantees that `open()` of
        // the same `T` has returned `private`, and that `release()`, which calls `from_foreign()`,
        // is not called before this function returns.
        let device = unsafe { T::Ptr::borrow(private) };
        // SAFETY: `from_raw_file()` requires a valid file that stays referenced, and that no active
        // `fdget_pos()` of this file was done without `f_pos_lock`. The kernel holds a reference to
        // the file during the call. Only a call on this thread can be without the lock, and there
        // is no active `fdget_pos()` region on this thread.
        T::flush(device, unsafe { File::from_raw_file(file) })
    }

    /// # Safety
    ///
    /// The requirements are those of [`Calls`].
    unsafe fn mmap(
        private: *mut c_void,
        file: *mut bindings::file,
        vma: *mut bindings::vm_area_struct,
    ) -> Result {
        // SAFETY: `borrow()` requires a pointer that `into_foreign()` has returned, and that is not
        // passed to `from_foreign()` while it is borrowed. The caller guarantees that `open()` of
        // the same `T` has returned `private`, and that `release()`, which calls `from_foreign()`,
        // is not called before this function returns.
        let device = unsafe { T::Ptr::borrow(private) };
        // SAFETY: `VmaNew::from_raw()` requires a VMA that is undergoing initial setup. The caller
        // guarantees that the kernel has passed `vma` to the operation `mmap`, which is part of
        // this setup.
        let vma = unsafe { VmaNew::from_raw(vma) };
        // SAFETY: `from_raw_file()` requires a valid file that stays referenced, and that no active
        // `fdget_pos()` of this file was done without `f_pos_lock`. The kernel holds a reference to
        // the file during the call. Only a call on this thread can be without the lock, and there
        // is no active `fdget_pos()` region on this thread.
        T::mmap(device, unsafe { File::from_raw_file(file) }, vma)
    }

    /// # Safety
    ///
    /// The requirements are those of [`Calls`].
    unsafe fn read_iter(
        private: *mut c_void,
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> Result<usize> {
        // SAFETY: `Kiocb::from_raw()` requires a valid request that no other code uses, and a
        // pointer that `into_foreign()` has returned and that is not passed to `from_foreign()`
        // meanwhile. The caller guarantees that the kernel has passed `kiocb` to this call, during
        // which the request is valid and not used by other code; that `open()` of the same `T` has
        // returned `private`; and that `release()` is not called before this function returns.
        let kiocb = unsafe { Kiocb::from_raw(kiocb, private) };
        // SAFETY: `IovIterDest::from_raw()` requires a valid iterator that no other code uses, with
        // `ITER_DEST`, and that its memory may be written to. The caller guarantees that the kernel
        // has passed `iter` to the operation `read_iter`, which writes to such an iterator.
        T::read_iter(kiocb, unsafe { IovIterDest::from_raw(iter) })
    }

    /// # Safety
    ///
    /// The requirements are those of [`Calls`].
    unsafe fn write_iter(
        private: *mut c_void,
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> Result<usize> {
        // SAFETY: `Kiocb::from_raw()` requires a valid request that no other code uses, and a
        // pointer that `into_foreign()` has returned and that is not passed to `from_foreign()`
        // meanwhile. The caller guarantees that the kernel has passed `kiocb` to this call, during
        // which the request is valid and not used by other code; that `open()` of the same `T` has
        // returned `private`; and that `release()` is not called before this function returns.
        let kiocb = unsafe { Kiocb::from_raw(kiocb, private) };
        // SAFETY: `IovIterSource::from_raw()` requires a valid iterator that no other code uses,
        // with `ITER_SOURCE`, and that its memory may be read. The caller guarantees that the
        // kernel has passed `iter` to the operation `write_iter`, which reads from such an
        // iterator.
        T::write_iter(kiocb, unsafe { IovIterSource::from_raw(iter) })
    }

    /// # Safety
    ///
    /// The requirements are those of [`Calls`].
    unsafe fn ioctl(
        private: *mut c_void,
        file: *mut bindings::file,
        cmd: u32,
        arg: usize,
    ) -> Result<isize> {
        // SAFETY: `borrow()` requires a pointer that `into_foreign()` has returned, and that is not
        // passed to `from_foreign()` while it is borrowed. The caller guarantees that `open()` of
        // the same `T` has returned `private`, and that `release()`, which calls `from_foreign()`,
        // is not called before this function returns.
        let device = unsafe { T::Ptr::borrow(private) };
        // SAFETY: `from_raw_file()` requires a valid file that stays referenced, and that no active
        // `fdget_pos()` of this file was done without `f_pos_lock`. The kernel holds a reference to
        // the file during the call. Only a call on this thread can be without the lock, and there
        // is no active `fdget_pos()` region on this thread.
        T::ioctl(device, unsafe { File::from_raw_file(file) }, cmd, arg)
    }

    /// # Safety
    ///
    /// The requirements are those of [`Calls`].
    unsafe fn ioctl_in_syscall(
        private: *mut c_void,
        file: *mut bindings::file,
        cmd: u32,
        arg: usize,
    ) -> Result<isize> {
        // SAFETY: `borrow()` requires a pointer that `into_foreign()` has returned, and that is not
        // passed to `from_foreign()` while it is borrowed. The caller guarantees that `open()` of
        // the same `T` has returned `private`, and that `release()`, which calls `from_foreign()`,
        // is not called before this function returns.
        let device = unsafe { T::Ptr::borrow(private) };
        // SAFETY: `from_raw_file()` requires a valid file that stays referenced, and that no active
        // `fdget_pos()` of this file was done without `f_pos_lock`. The kernel holds a reference to
        // the file during the call. Only a call on this thread can be without the lock, and there
        // is no active `fdget_pos()` region on this thread.
        let file = unsafe { File::from_raw_file(file) };
        // SAFETY: `SyscallContext::new()` requires that the current task executes a system call,
        // and does not call `task_work_run()` while the context exists. The kernel calls the ioctl
        // operations of a character device from the system call `ioctl()` only. The context is
        // dropped before this function returns, and the system call runs task works afterwards.
        let context = unsafe { SyscallContext::new() };
        T::ioctl_in_syscall(device, file, cmd, arg, &context)
    }

    /// # Safety
    ///
    /// The requirements are those of [`Calls`].
    #[cfg(CONFIG_COMPAT)]
    unsafe fn compat_ioctl(
        private: *mut c_void,
        file: *mut bindings::file,
        cmd: u32,
        arg: usize,
    ) -> Result<isize> {
        // SAFETY: `borrow()` requires a pointer that `into_foreign()` has returned, and that is not
        // passed to `from_foreign()` while it is borrowed. The caller guarantees that `open()` of
        // the same `T` has returned `private`, and that `release()`, which calls `from_foreign()`,
        // is not called before this function returns.
        let device = unsafe { T::Ptr::borrow(private) };
        // SAFETY: `from_raw_file()` requires a valid file that stays referenced, and that no active
        // `fdget_pos()` of this file was done without `f_pos_lock`. The kernel holds a reference to
        // the file during the call. Only a call on this thread can be without the lock, and there
        // is no active `fdget_pos()` region on this thread.
        T::compat_ioctl(device, unsafe { File::from_raw_file(file) }, cmd, arg)
    }

    /// # Safety
    ///
    /// The requirements are those of [`Calls`].
    unsafe fn poll(
        private: *mut c_void,
        raw_file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> Ready {
        // SAFETY: `borrow()` requires a pointer that `into_foreign()` has returned, and that is not
        // passed to `from_foreign()` while it is borrowed. The caller guarantees that `open()` of
        // the same `T` has returned `private`, and that `release()`, which calls `from_foreign()`,
        // is not called before this function returns.
        let device = unsafe { T::Ptr::borrow(private) };
        // SAFETY: `from_raw_file()` requires a valid file that stays referenced, and that no active
        // `fdget_pos()` of this file was done without `f_pos_lock`. The kernel holds a reference to
        // the file during the call. Only a call on this thread can be without the lock, and there
        // is no active `fdget_pos()` region on this thread.
        let file = unsafe { File::from_raw_file(raw_file) };
        // SAFETY: `PollTable::from_raw()` requires a table that is null or valid, and a valid file,
        // while the result is used; and that values of lifetime `'a` are valid until the file is
        // released. The caller guarantees that the kernel has passed `table`, null or valid, to the
        // operation `poll`, and the kernel holds a reference to the file during the call. `T::poll`
        // is generic over `'a`, so it can only borrow for `'a` from the private data, which is
        // valid until the file is released, or from statics. The statics of the driver's module
        // stay valid as well, because the file pins the module.
        let table = unsafe { PollTable::from_raw(table, raw_file) };
        T::poll(device, file, &table)
    }

    /// # Safety
    ///
    /// The requirements are those of [`Calls`].
    unsafe fn show_fdinfo(
        private: *mut c_void,
        m: *mut bindings::seq_file,
        file: *mut bindings::file,
    ) {
        // SAFETY: `borrow()` requires a pointer that `into_foreign()` has returned, and that is not
        // passed to `from_foreign()` while it is borrowed. The caller guarantees that `open()` of
        // the same `T` has returned `private`, and that `release()`, which calls `from_foreign()`,
        // is not called before this function returns.
        let device = unsafe { T::Ptr::borrow(private) };
        // SAFETY: `SeqFile::from_raw()` requires a valid `struct seq_file` that no other thread
        // accesses. The caller guarantees that the kernel has passed `m` to the operation
        // `show_fdinfo`; the kernel holds the mutex of `m` during the call.
        let m = unsafe { SeqFile::from_raw(m) };
        // SAFETY: `from_raw_file()` requires a valid file that stays referenced, and that no active
        // `fdget_pos()` of this file was done without `f_pos_lock`. The kernel holds a reference to
        // the file during the call. Only a call on this thread can be without the lock, and there
        // is no active `fdget_pos()` region on this thread.
        T::show_fdinfo(device, m, unsafe { File::from_raw_file(file) });
    }
}
