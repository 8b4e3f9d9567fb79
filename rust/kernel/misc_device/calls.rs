// SPDX-License-Identifier: GPL-2.0

//! Calls of a driver's [`MiscDevice`] functions, with the kernel's pointers as Rust types.
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

/// The table's functions: they are monomorphised in the driver's module, and called from Tether's
/// text while that module is pinned.
///
/// For all of them: `private` was returned by `open` of the same `T`, and was not passed to
/// `release`; the other pointers are those that the kernel has passed to the file operation of the
/// same name.
pub(super) struct Calls<T>(PhantomData<*mut T>);

impl<T: MiscDevice> Calls<T> {
    pub(super) const TABLE: &'static Table = &Table {
        open: Self::open,
        release: Self::release,
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
    /// `file` must be a valid file that is being opened, and `device` registered with the table of
    /// `T`.
    unsafe fn open(file: *mut bindings::file, device: &Arc<Device>) -> Result<*mut c_void> {
        // SAFETY: The caller guarantees that the device was registered with the table of this very
        // `T`, and `MiscDeviceRegistration` is a transparent wrapper of a reference-counted device.
        // The reference is borrowed, so that the registration's destructor does not run.
        let misc = unsafe { &*ptr::from_ref(device).cast::<MiscDeviceRegistration<T>>() };
        // SAFETY: The caller guarantees that the file is valid and being opened.
        let file = unsafe { TransientFile::from_raw(file) };
        T::open(file, misc).map(ForeignOwnable::into_foreign)
    }

    /// # Safety
    ///
    /// As for all functions of the table; and `private` must not be used afterwards.
    pub(super) unsafe fn release(private: *mut c_void, file: *mut bindings::file) {
        // SAFETY: The caller guarantees that `private` was returned by `open`, from `into_foreign`,
        // and that it is not used afterwards. No other method runs, as the file has no more users.
        let device = unsafe { T::Ptr::from_foreign(private) };
        // SAFETY: The caller guarantees that the file is valid and being released.
        T::release(device, unsafe { TransientFile::from_raw(file) });
    }

    /// # Safety
    ///
    /// As for all functions of the table.
    unsafe fn mmap(
        private: *mut c_void,
        file: *mut bindings::file,
        vma: *mut bindings::vm_area_struct,
    ) -> Result {
        // SAFETY: The caller guarantees that `private` was returned by `into_foreign`, and is not
        // taken back before this returns.
        let device = unsafe { T::Ptr::borrow(private) };
        // SAFETY: The caller guarantees that the VMA is undergoing initial setup.
        let vma = unsafe { VmaNew::from_raw(vma) };
        // SAFETY: The kernel holds a reference to the file during the call, and there is no active
        // `fdget_pos()` region on this thread.
        T::mmap(device, unsafe { File::from_raw_file(file) }, vma)
    }

    /// # Safety
    ///
    /// As for all functions of the table.
    unsafe fn read_iter(
        private: *mut c_void,
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> Result<usize> {
        // SAFETY: The caller guarantees that `private` was returned by `into_foreign`, and is not
        // taken back before this returns, and that the kernel has passed `kiocb` to this call,
        // during which it is valid and used by no other code.
        let kiocb = unsafe { Kiocb::from_raw(kiocb, private) };
        // SAFETY: The caller guarantees that this is a valid `struct iov_iter` for writing to.
        T::read_iter(kiocb, unsafe { IovIterDest::from_raw(iter) })
    }

    /// # Safety
    ///
    /// As for all functions of the table.
    unsafe fn write_iter(
        private: *mut c_void,
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> Result<usize> {
        // SAFETY: The caller guarantees that `private` was returned by `into_foreign`, and is not
        // taken back before this returns, and that the kernel has passed `kiocb` to this call,
        // during which it is valid and used by no other code.
        let kiocb = unsafe { Kiocb::from_raw(kiocb, private) };
        // SAFETY: The caller guarantees that this is a valid `struct iov_iter` for reading from.
        T::write_iter(kiocb, unsafe { IovIterSource::from_raw(iter) })
    }

    /// # Safety
    ///
    /// As for all functions of the table.
    unsafe fn ioctl(
        private: *mut c_void,
        file: *mut bindings::file,
        cmd: u32,
        arg: usize,
    ) -> Result<isize> {
        // SAFETY: The caller guarantees that `private` was returned by `into_foreign`, and is not
        // taken back before this returns.
        let device = unsafe { T::Ptr::borrow(private) };
        // SAFETY: The kernel holds a reference to the file during the call, and there is no active
        // `fdget_pos()` region on this thread.
        T::ioctl(device, unsafe { File::from_raw_file(file) }, cmd, arg)
    }

    /// # Safety
    ///
    /// As for all functions of the table.
    unsafe fn ioctl_in_syscall(
        private: *mut c_void,
        file: *mut bindings::file,
        cmd: u32,
        arg: usize,
    ) -> Result<isize> {
        // SAFETY: The caller guarantees that `private` was returned by `into_foreign`, and is not
        // taken back before this returns.
        let device = unsafe { T::Ptr::borrow(private) };
        // SAFETY: The kernel holds a reference to the file during the call, and there is no active
        // `fdget_pos()` region on this thread.
        let file = unsafe { File::from_raw_file(file) };
        // SAFETY: The kernel calls the ioctl operations of a character device from the system call
        // `ioctl()` only, and the context is dropped before that returns.
        let context = unsafe { SyscallContext::new() };
        T::ioctl_in_syscall(device, file, cmd, arg, &context)
    }

    /// # Safety
    ///
    /// As for all functions of the table.
    #[cfg(CONFIG_COMPAT)]
    unsafe fn compat_ioctl(
        private: *mut c_void,
        file: *mut bindings::file,
        cmd: u32,
        arg: usize,
    ) -> Result<isize> {
        // SAFETY: The caller guarantees that `private` was returned by `into_foreign`, and is not
        // taken back before this returns.
        let device = unsafe { T::Ptr::borrow(private) };
        // SAFETY: The kernel holds a reference to the file during the call, and there is no active
        // `fdget_pos()` region on this thread.
        T::compat_ioctl(device, unsafe { File::from_raw_file(file) }, cmd, arg)
    }

    /// # Safety
    ///
    /// As for all functions of the table.
    unsafe fn poll(
        private: *mut c_void,
        raw_file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> Ready {
        // SAFETY: The caller guarantees that `private` was returned by `into_foreign`, and is not
        // taken back before this returns.
        let device = unsafe { T::Ptr::borrow(private) };
        // SAFETY: The kernel holds a reference to the file during the call, and there is no active
        // `fdget_pos()` region on this thread.
        let file = unsafe { File::from_raw_file(raw_file) };
        // SAFETY: The caller guarantees that the table is null or valid during this call, and the
        // kernel holds a reference to the file. `T::poll` is written for any `'a`, so that it can
        // borrow from the private data, which is valid until the file is released, or from statics.
        // Those of its module stay, too, as the file pins the module.
        let table = unsafe { PollTable::from_raw(table, raw_file) };
        T::poll(device, file, &table)
    }

    /// # Safety
    ///
    /// As for all functions of the table.
    unsafe fn show_fdinfo(
        private: *mut c_void,
        m: *mut bindings::seq_file,
        file: *mut bindings::file,
    ) {
        // SAFETY: The caller guarantees that `private` was returned by `into_foreign`, and is not
        // taken back before this returns.
        let device = unsafe { T::Ptr::borrow(private) };
        // SAFETY: The caller guarantees that this is a valid `struct seq_file`, which only this
        // call uses.
        let m = unsafe { SeqFile::from_raw(m) };
        // SAFETY: The kernel holds a reference to the file during the call, and there is no active
        // `fdget_pos()` region on this thread.
        T::show_fdinfo(device, m, unsafe { File::from_raw_file(file) });
    }
}
