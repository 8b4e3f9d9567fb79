// SPDX-License-Identifier: GPL-2.0

//! Misc devices whose open files pin the module of their driver.
//!
//! This is [`miscdevice`] with three differences. [`MiscDevice::poll`] exists. A registration may
//! be leaked, or dropped in any context. And no `struct file` refers to the driver's module
//! directly: the `file_operations` of all devices are in Tether's own text, which is never
//! unloaded.
//!
//! # Files and modules
//!
//! `misc_open()` takes a reference to the owner of the `file_operations` while that module is still
//! in its init (`MODULE_STATE_COMING`), but a failing init frees the module in spite of that
//! reference. An open file is then left with operations in freed memory. Refusing such a file in
//! the driver's own `open` does not help, because the kernel reads the `file_operations` after the
//! refusal.
//!
//! Here the kernel calls a trampoline in Tether's text:
//!
//! ```text
//! open():     refuse with ENODEV unless the driver's module is in MODULE_STATE_LIVE;
//!             pin the module;                          call MiscDevice::open()
//! ioctl() and others:                                  call the driver through the table of the file
//! release():                                           call MiscDevice::release();
//!             drop the pin of the module
//! ```
//!
//! So a device cannot be opened before its module's init has succeeded, and no open file outlives
//! its module: `rmmod` fails with `EAGAIN` while a file is open.
//!
//! # Deregistration
//!
//! `misc_register()` and `misc_deregister()` take a mutex that the kernel holds while it calls
//! `open` of any misc device. A driver may nevertheless drop a registration in its own
//! [`open`](MiscDevice::open), or in a thread that `open` waits for: dropping a registration only
//! refuses new files, and leaves `misc_deregister()` to a workqueue.
//! [`MiscDeviceRegistration::register`] fails instead of waiting for a call of `open` without
//! limit.
//!
//! # Example
//!
//! ```
//! use kernel::{
//!     fs::File,
//!     misc_device::{
//!         MiscDevice,
//!         MiscDeviceOptions,
//!         MiscDeviceRegistration,
//!         TransientFile, //
//!     },
//!     prelude::*, //
//! };
//!
//! struct Answer(isize);
//!
//! #[vtable]
//! impl MiscDevice for Answer {
//!     type Ptr = KBox<Self>;
//!
//!     fn open(_file: &TransientFile, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
//!         Ok(KBox::new(Self(42), GFP_KERNEL)?)
//!     }
//!
//!     fn ioctl(me: &Self, _file: &File, _command: u32, _argument: usize) -> Result<isize> {
//!         Ok(me.0)
//!     }
//! }
//!
//! let options = MiscDeviceOptions { name: c"answer" };
//! let device = KBox::pin_init(MiscDeviceRegistration::<Answer>::register(options), GFP_KERNEL)?;
//! assert_eq!(device.device().name(), c"answer");
//! # Ok::<(), Error>(())
//! ```
//!
//! C headers: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h),
//! [`include/linux/poll.h`](srctree/include/linux/poll.h).
//!
//! [`miscdevice`]: crate::miscdevice

use crate::{
    bindings,
    container_of,
    cred::Credential,
    device,
    error::{
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    fs::File,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    mm::virt::VmaNew,
    new_spinlock,
    prelude::*,
    seq_file::SeqFile,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        barrier::{
            smp_mb,
            Read, //
        },
        poll::{
            self,
            PollCondVar, //
        },
        Arc,
        ArcBorrow,
        SetOnce,
        SpinLock, //
    },
    syscall::SyscallContext,
    task::Task,
    tether::{
        as_jiffies,
        is_opening,
        may_sleep,
        Attachment,
        Entered,
        Owner,
        What,
        OPENING, //
    },
    time::Delta,
    types::{
        ForeignOwnable,
        Opaque, //
    },
    workqueue, //
};
use core::{
    any::type_name,
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr, //
};

pub use crate::miscdevice::MiscDeviceOptions;

/// The events that a file is ready for (`EPOLLIN` and others in
/// [`include/uapi/linux/eventpoll.h`](srctree/include/uapi/linux/eventpoll.h)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready(u32);

impl Ready {
    /// No event.
    pub const NOTHING: Self = Self(0);
    /// Data can be read (`EPOLLIN | EPOLLRDNORM`).
    pub const READ: Self = Self(0x1 | 0x40);
    /// Data can be written (`EPOLLOUT | EPOLLWRNORM`).
    pub const WRITE: Self = Self(0x4 | 0x100);
    /// No more data will arrive (`EPOLLHUP`).
    pub const HANG_UP: Self = Self(0x10);
    /// An error condition (`EPOLLERR`).
    pub const ERROR: Self = Self(0x8);
}

impl core::ops::BitOr for Ready {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A file that is being opened or released.
///
/// Unlike a [`File`], it cannot be turned into an [`ARef`]: a reference taken in `release` would
/// refer to freed memory when `release` has returned; with one taken in `open`, a half-opened file
/// could be installed in a table of descriptors.
///
/// # Invariants
///
/// The file is valid, and is being opened or released.
#[repr(transparent)]
pub struct TransientFile {
    inner: Opaque<bindings::file>,
}

impl TransientFile {
    /// Creates a reference to a file that is being opened or released.
    ///
    /// # Safety
    ///
    /// The file must be valid for the duration of `'a`, and being opened or released.
    unsafe fn from_raw<'a>(file: *mut bindings::file) -> &'a Self {
        // INVARIANT: The caller guarantees that the file is valid, and being opened or released.
        //
        // SAFETY: The caller guarantees that the pointer is valid for `'a`, and `Self` is
        // transparent.
        unsafe { &*file.cast() }
    }

    /// Returns the flags that the file was opened with; see [`File`]'s method of this name.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn flags(&self) -> u32 {
        // SAFETY: The file is valid by the type's invariants. `fcntl()` may change the flags at the
        // same time, so the field is read once, by a volatile access.
        unsafe { ptr::read_volatile(&raw const (*self.inner.get()).f_flags) }
    }

    /// Returns the credentials that the file was opened with.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn cred(&self) -> &Credential {
        // SAFETY: The file is valid by the type's invariants, and holds a reference to its
        // credentials, which are never replaced, until it is freed.
        unsafe { Credential::from_ptr((*self.inner.get()).f_cred) }
    }
}

/// A read or write request to a file of a misc device: `struct kiocb`.
///
/// `T` is the driver's pointer type, [`MiscDevice::Ptr`].
///
/// # Invariants
///
/// `inner` points to a `struct kiocb` that is valid for `'a`, and `private` was returned by
/// `T::into_foreign`, and is not taken back during `'a`.
pub struct Kiocb<'a, T> {
    inner: *mut bindings::kiocb,
    private: *mut c_void,
    _t: PhantomData<(&'a (), *mut T)>,
}

impl<'a, T: ForeignOwnable> Kiocb<'a, T> {
    /// Creates the request that `read_iter` and `write_iter` get.
    ///
    /// # Safety
    ///
    /// * `kiocb` must be valid for the duration of `'a`, and not be used by other code meanwhile.
    /// * `private` must have been returned by `T::into_foreign`, and must not be passed to
    ///   `T::from_foreign` during `'a`.
    unsafe fn from_raw(kiocb: *mut bindings::kiocb, private: *mut c_void) -> Self {
        // INVARIANT: The caller guarantees that `kiocb` is valid for `'a`, that `private` was
        // returned by `T::into_foreign`, and that it is not taken back during `'a`.
        Self {
            inner: kiocb,
            private,
            _t: PhantomData,
        }
    }

    /// Returns the driver's data of the file.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn file(&self) -> T::Borrowed<'a> {
        // SAFETY: By the type's invariants, `private` was returned by `T::into_foreign`, and
        // `T::from_foreign` is not called on it during `'a`.
        unsafe { T::borrow(self.private) }
    }

    /// Returns the position in the file.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn ki_pos(&self) -> i64 {
        // SAFETY: The request is valid by the type's invariants.
        unsafe { (*self.inner).ki_pos }
    }

    /// Returns a mutable reference to the position in the file.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn ki_pos_mut(&mut self) -> &mut i64 {
        // SAFETY: The request is valid by the type's invariants, and this is the only `Kiocb` of
        // it, which is borrowed mutably here.
        unsafe { &mut (*self.inner).ki_pos }
    }

    /// Whether the request must not wait: `O_NONBLOCK` is set for the file.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn is_nonblocking(&self) -> bool {
        // SAFETY: The request is valid by the type's invariants, and holds a reference to its file.
        // The flags of the file may change at the same time, so they are read by a volatile access.
        let flags = unsafe { ptr::read_volatile(&raw const (*(*self.inner).ki_filp).f_flags) };
        flags & crate::fs::file::flags::O_NONBLOCK != 0
    }
}

/// The table of a poll: `poll_table`.
///
/// A task that sleeps in `poll()` or `select()` stays queued on the condition variables until the
/// system call ends. It holds a reference to the file, so the condition variable has to live as
/// long as the file: dropping a [`PollCondVar`] earlier removes epoll items, but no such task. The
/// kernel crate's `PollTable` accepts any condition variable; this one accepts those that are
/// borrowed for `'a`, which is the lifetime of the file's private data in [`MiscDevice::poll`].
///
/// # Invariants
///
/// `file` is valid during the call of `poll`, and `table` is null or valid. Values of lifetime `'a`
/// are valid until the file is released.
pub struct PollTable<'a> {
    table: *mut bindings::poll_table_struct,
    file: *mut bindings::file,
    // Invariant: with a shorter lifetime, condition variables of that lifetime would be accepted.
    _lifetime: PhantomData<fn(&'a ()) -> &'a ()>,
}

impl<'a> PollTable<'a> {
    /// Creates the table that `poll` gets.
    ///
    /// # Safety
    ///
    /// * `table` must be null or valid, and `file` valid, for as long as the returned value is used.
    /// * Values of lifetime `'a` must be valid until the file is released.
    #[inline]
    unsafe fn from_raw(table: *mut bindings::poll_table_struct, file: *mut bindings::file) -> Self {
        // INVARIANT: The caller guarantees that the file is valid, that the table is null or valid,
        // and that values of lifetime `'a` are valid until the file is released.
        Self {
            table,
            file,
            _lifetime: PhantomData,
        }
    }

    /// Queues the caller of `poll` on `condition`, so that notifying it makes the caller look
    /// again.
    ///
    /// # Context
    ///
    /// Process context, may sleep.
    #[doc(alias = "poll_wait")]
    pub fn register_wait(&self, condition: &'a PollCondVar) {
        // The condition variable is valid until the file is released, by the type's invariants. It
        // outlives all users of the table: tasks that sleep hold a reference to the file, and epoll
        // items are removed before the file is released.
        //
        // SAFETY: The table is null or valid by the type's invariants.
        let table = unsafe { poll::PollTable::from_raw(self.table) };
        // SAFETY: The file is valid by the type's invariants, its caller holds a reference to it,
        // and there is no active `fdget_pos()` region on this thread.
        table.register_wait(unsafe { File::from_raw_file(self.file) }, condition);
    }
}

/// The private data of an open file of a misc device.
///
/// The methods are those of [`miscdevice::MiscDevice`](crate::miscdevice::MiscDevice), and also
/// [`poll`](MiscDevice::poll) and [`ioctl_in_syscall`](MiscDevice::ioctl_in_syscall). To port a
/// driver, change the imports, and the type of the file in `open` and `release`.
///
/// The module of the driver is pinned while a method runs. None of Tether's locks is held, so a
/// method that panics leaves none of them locked, but its file pins the module until the machine is
/// restarted. A panic in `open` also leaves the kernel's `misc_mtx` locked: every later `open` of a
/// misc device blocks, registering a device fails with `EBUSY`, and the end of a module that has
/// dropped a registration waits.
#[vtable]
pub trait MiscDevice: Sized + 'static {
    /// The pointer type that `Self` is wrapped in.
    type Ptr: ForeignOwnable + Send + Sync + 'static;

    /// Opens the device.
    ///
    /// The returned pointer becomes the private data of the file. `open` is not called before the
    /// init of the driver's module has succeeded.
    ///
    /// # Context
    ///
    /// Process context, may sleep. The kernel's `misc_mtx` is held: until `open` returns, no misc
    /// device can be opened, registered or deregistered. Therefore `open` must not wait for a
    /// process; a notifier that is registered here is refused with [`EBUSY`] if the locks of the
    /// address space are not free for a second.
    fn open(_file: &TransientFile, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr>;

    /// Releases a file, after its last user has closed it.
    ///
    /// # Context
    ///
    /// Process context, may sleep; often in a task work, possibly in a kernel thread.
    fn release(device: Self::Ptr, _file: &TransientFile) {
        drop(device);
    }

    /// Maps the file into an address space.
    ///
    /// The initial setup of the VMA has been done, and is completed when this returns `Ok`.
    ///
    /// # Context
    ///
    /// Process context, may sleep. The mmap lock of the address space is held for writing.
    fn mmap(
        _device: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _vma: &VmaNew,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reads from the file.
    ///
    /// # Context
    ///
    /// Process context, may sleep. May run in a task work, as io_uring retries a read in one.
    fn read_iter(_kiocb: Kiocb<'_, Self::Ptr>, _iov: &mut IovIterDest<'_>) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes to the file.
    ///
    /// # Context
    ///
    /// Process context, may sleep. May run in a task work, as io_uring retries a write in one.
    fn write_iter(_kiocb: Kiocb<'_, Self::Ptr>, _iov: &mut IovIterSource<'_>) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Handles an ioctl.
    ///
    /// # Context
    ///
    /// Process context, may sleep.
    fn ioctl(
        _device: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _cmd: u32,
        _arg: usize,
    ) -> Result<isize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Handles an ioctl, with proof that the current task executes a system call.
    ///
    /// If this is implemented, it is called instead of [`MiscDevice::ioctl`].
    ///
    /// # Context
    ///
    /// Process context, may sleep.
    fn ioctl_in_syscall(
        _device: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _cmd: u32,
        _arg: usize,
        _context: &SyscallContext<'_>,
    ) -> Result<isize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Handles an ioctl of a 32-bit process on a 64-bit kernel.
    ///
    /// Only needed if the structures of an ioctl have another layout there. Without it, the other
    /// ioctl method is called, with the argument extended as `compat_ptr_ioctl()` does.
    ///
    /// # Context
    ///
    /// Process context, may sleep.
    #[cfg(CONFIG_COMPAT)]
    fn compat_ioctl(
        _device: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _cmd: u32,
        _arg: usize,
    ) -> Result<isize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the events that the file is ready for.
    ///
    /// The implementation registers with the condition variables that announce a change first
    /// ([`PollTable::register_wait`]). Without this method, a file is always ready, and cannot be
    /// added to an epoll instance.
    ///
    /// # Context
    ///
    /// Process context, may sleep.
    fn poll<'a>(
        _device: <Self::Ptr as ForeignOwnable>::Borrowed<'a>,
        _file: &File,
        _table: &PollTable<'a>,
    ) -> Ready {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes information about the file to `/proc/PID/fdinfo/FD`.
    ///
    /// # Context
    ///
    /// Process context, may sleep.
    fn show_fdinfo(
        _device: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        _m: &SeqFile,
        _file: &File,
    ) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// The functions of a driver, in its module's text. All but `open` take the private data that
/// `open` has returned, and a file or request of the same device.
struct Table {
    open: unsafe fn(*mut bindings::file, &Arc<Device>) -> Result<*mut c_void>,
    release: unsafe fn(*mut c_void, *mut bindings::file),
    mmap: Option<
        unsafe fn(*mut c_void, *mut bindings::file, *mut bindings::vm_area_struct) -> Result,
    >,
    read_iter: Option<IterFn>,
    write_iter: Option<IterFn>,
    ioctl: Option<IoctlFn>,
    #[cfg(CONFIG_COMPAT)]
    compat_ioctl: Option<IoctlFn>,
    poll: Option<
        unsafe fn(*mut c_void, *mut bindings::file, *mut bindings::poll_table_struct) -> Ready,
    >,
    show_fdinfo: Option<unsafe fn(*mut c_void, *mut bindings::seq_file, *mut bindings::file)>,
}

type IterFn =
    unsafe fn(*mut c_void, *mut bindings::kiocb, *mut bindings::iov_iter) -> Result<usize>;
type IoctlFn = unsafe fn(*mut c_void, *mut bindings::file, u32, usize) -> Result<isize>;

/// The table's functions: they are monomorphised in the driver's module, and called from Tether's
/// text while that module is pinned.
///
/// For all of them: `private` was returned by `open` of the same `T`, and was not passed to
/// `release`; the other pointers are those that the kernel has passed to the file operation of the
/// same name.
struct Calls<T>(PhantomData<*mut T>);

impl<T: MiscDevice> Calls<T> {
    const TABLE: &'static Table = &Table {
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

    const WHAT: &'static What = &What {
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
    unsafe fn release(private: *mut c_void, file: *mut bindings::file) {
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

// The phases of a device.

/// Its registration was requested, and the requester waits.
const REQUESTED: u32 = 0;
/// It is registered, and can be opened.
const LIVE: u32 = 1;
/// It could not be registered.
const FAILED: u32 = 2;
/// It cannot be opened any more, and is deregistered, or will be.
const DEAD: u32 = 3;

/// A misc device.
///
/// # Invariants
///
/// * `phase` only changes from `REQUESTED` to any other, and from `LIVE` to `DEAD`.
/// * While `phase` is `REQUESTED` or `LIVE`, `table` is valid: the end of the owner waits for the
///   requester, or finds `attachment` and ends it.
/// * While `attachment` is in its owner's list, the list owns a reference to the device.
/// * `misc` is registered from its registration by the device's work until the attachment was taken
///   off the list, or, if the requester has given up, until the end of that work.
#[pin_data]
struct Device {
    #[pin]
    attachment: Attachment,
    #[pin]
    misc: Opaque<bindings::miscdevice>,
    /// Registers the device when it is queued first, deregisters it when it is queued again.
    #[pin]
    work: workqueue::Work<Device>,
    owner: &'static Owner,
    table: *const Table,
    /// The name that `misc` points to. The driver's own string may be unloaded before `misc` is
    /// deregistered.
    name: CString,
    phase: Atomic<u32>,
    /// The error of `misc_register()`, if `phase` is `FAILED`.
    error: Atomic<i32>,
    /// Keeps the end of the owner waiting until the device is deregistered.
    #[pin]
    entered: SpinLock<Option<Entered>>,
    /// Keeps the device in sysfs, `misc.this_device`, until this is freed. Set by the first run of
    /// the work.
    device: SetOnce<ARef<device::Device>>,
}

// SAFETY: `misc` is only changed by the kernel, under its own mutex, by functions that register or
// deregister it, which are never concurrent by the type's invariants. `table` refers to constants.
// The other fields are `Send` themselves.
unsafe impl Send for Device {}
// SAFETY: No field is changed through a shared reference but `misc`, as above, and fields that are
// `Sync` themselves.
unsafe impl Sync for Device {}

workqueue::impl_has_work! {
    impl HasWork<Self> for Device { self.work }
}

/// The number of devices that will be deregistered by their work, or that it has not yet found to be
/// given up.
static DEREGISTERING: Atomic<u32> = Atomic::new(0);

/// The time that a registration may take.
const LIMIT: Delta = Delta::from_secs(10);

impl Device {
    /// Registers a device; see [`MiscDeviceRegistration::register`].
    #[inline(never)]
    fn register(
        name: &CStr,
        owner: &'static Owner,
        table: &'static Table,
        what: &'static What,
    ) -> Result<Arc<Self>> {
        if !may_sleep() {
            return Err(EINVAL);
        }
        // This task's own call of `open` holds the mutex that `misc_register()` takes.
        if is_opening() {
            return Err(EDEADLK);
        }
        // The kernel would warn about it.
        if !(1..=NAME_MAX).contains(&name.to_bytes().len()) {
            return Err(EINVAL);
        }
        let name = CString::try_from(name)?;
        // INVARIANT: `misc` is not registered yet, and the attachment is not in the list.
        let this = Arc::pin_init(
            try_pin_init!(Self {
                attachment <- Attachment::new(owner, what),
                misc: Opaque::new(pin_init::zeroed()),
                work <- workqueue::new_work!("tether::misc_device::Device::work"),
                owner,
                table,
                name,
                phase: Atomic::new(REQUESTED),
                error: Atomic::new(0),
                entered <- new_spinlock!(None, "tether::misc_device::Device::entered"),
                device: SetOnce::new(),
            }? Error),
            GFP_KERNEL,
        )?;
        let fops = if table.poll.is_some() {
            &POLLED
        } else {
            &PLAIN
        };
        let misc = this.misc.get();
        // SAFETY: The device was just allocated, and is not shared yet.
        unsafe {
            (*misc).minor = bindings::MISC_DYNAMIC_MINOR as c_int;
            (*misc).name = this.name.as_char_ptr();
            (*misc).fops = &fops.0;
        }
        // INVARIANT: This reference is the list's. It is dropped below if attaching fails.
        let listed = Arc::into_raw(this.clone());
        // SAFETY: The device is pinned. The list's reference keeps it valid until `end` and
        // `release_attached` have been called, or until it was detached in `run`.
        let attached = unsafe { this.attachment.attach(|| this.wait_until_registered()) };
        if attached.is_err() {
            // SAFETY: The pointer was returned by `Arc::into_raw`, and the attachment is in no
            // list, so that this reference is dropped once.
            drop(unsafe { Arc::from_raw(listed) });
        }
        attached?;
        Ok(this)
    }

    /// Has the device registered by a workqueue, and waits for that, but not without limit: the
    /// task that is in `open` of a misc device may wait for the caller.
    fn wait_until_registered(self: &Arc<Self>) -> Result {
        let mut left = as_jiffies(LIMIT) as c_long;
        // A device that was dropped before may have the same name.
        loop {
            let others = DEREGISTERING.load(Acquire);
            if others == 0 {
                break;
            }
            left = wait_while(&DEREGISTERING, others, left)?;
        }
        if workqueue::system_long().enqueue(self.clone()).is_err() {
            // A new work is not queued.
            return Err(EBUSY);
        }
        let Err(error) = wait_while(&self.phase, REQUESTED, left) else {
            return self.registered();
        };
        // The work may have the name registered for a moment, also after this has given up.
        DEREGISTERING.fetch_add(1u32, Full);
        if self.phase.cmpxchg(REQUESTED, DEAD, Full).is_ok() {
            return Err(error);
        }
        Self::deregistered();
        self.registered()
    }

    /// Returns whether the work has registered the device, or its error.
    fn registered(&self) -> Result {
        match self.phase.load(Acquire) {
            LIVE => Ok(()),
            _ => to_result(self.error.load(Relaxed)),
        }
    }

    /// One device less will be deregistered by its work.
    fn deregistered() {
        DEREGISTERING.fetch_sub(1u32, Full);
        // SAFETY: The function uses the address only.
        unsafe { bindings::wake_up_var(DEREGISTERING.as_ptr().cast()) };
    }

    /// Registers the device for the requester, if that still waits.
    fn run_registration(&self) {
        if self.phase.load(Acquire) != REQUESTED {
            return Self::deregistered();
        }
        // SAFETY: `misc` is initialised, its name and operations stay valid until it is
        // deregistered, and it is registered once: this is the first run of the work.
        let error = unsafe { bindings::misc_register(self.misc.get()) };
        let phase = if error == 0 {
            // SAFETY: `misc` was just registered, so that `this_device` is valid.
            let device = unsafe { device::Device::get_device((*self.misc.get()).this_device) };
            self.device.populate(device);
            LIVE
        } else {
            self.error.store(error, Relaxed);
            FAILED
        };
        let given_up = self.phase.cmpxchg(REQUESTED, phase, Full).is_err();
        // SAFETY: The function uses the address only.
        unsafe { bindings::wake_up_var(self.phase.as_ptr().cast()) };
        if given_up {
            if error == 0 {
                // SAFETY: `misc` was registered above, and only this work knows about it, as the
                // requester has got an error.
                unsafe { bindings::misc_deregister(self.misc.get()) };
            }
            Self::deregistered();
        }
    }

    /// Deregisters the device, unless the end of its owner has done so.
    fn run_deregistration(&self) {
        let entered = self.entered.lock().take();
        if let Some(_entered) = entered.or_else(|| self.attachment.try_detach()) {
            // SAFETY: By the type's invariants, `misc` is registered: the attachment was taken off
            // its owner's list just now, or when `entered` was set.
            unsafe { bindings::misc_deregister(self.misc.get()) };
            // SAFETY: The reference of the list is ours, as the attachment was taken off by us.
            unsafe { Self::release_attached(&self.attachment) };
        }
        Self::deregistered();
    }

    /// Refuses new files, and has the device deregistered.
    #[inline(never)]
    fn drop_registration(self: Arc<Self>) {
        self.phase.store(DEAD, Release);
        if may_sleep() {
            // If this is called by the exit of the module, the end of the module would otherwise
            // find the device in its list, and report a leak.
            let entered = self.attachment.try_detach();
            *self.entered.lock() = entered;
        }
        DEREGISTERING.fetch_add(1u32, Full);
        // The work that registers the device has been taken off its queue before the registration
        // was returned, so this cannot fail.
        let _ = workqueue::system_long().enqueue(self);
    }

    /// # Safety
    ///
    /// As [`What::end`] says.
    unsafe fn end(attachment: *const Attachment) {
        // SAFETY: The caller guarantees that the attachment is valid; it is in a device, which the
        // list's reference keeps valid.
        let this = unsafe { &*container_of!(attachment.cast_mut(), Self, attachment) };
        this.phase.store(DEAD, Release);
        // SAFETY: By the type's invariants, `misc` is registered: the owner's end has taken the
        // attachment off its list just now.
        unsafe { bindings::misc_deregister(this.misc.get()) };
    }

    /// Drops the reference of the owner's list.
    ///
    /// # Safety
    ///
    /// The caller must have taken the attachment off its owner's list, and must not use it
    /// afterwards.
    unsafe fn release_attached(attachment: *const Attachment) {
        // SAFETY: The caller guarantees that the attachment is valid, and it is in a device.
        let this = unsafe { container_of!(attachment.cast_mut(), Self, attachment) };
        // SAFETY: `register()` has called `Arc::into_raw` for the list, and the caller guarantees
        // that the list does not have that reference any more.
        drop(unsafe { Arc::from_raw(this.cast_const()) });
    }

    /// Pins the driver's module for a file, unless the device cannot be opened.
    fn pin_owner(&self) -> Result {
        // The owner is a record that may have been reused by another module, but not if `phase` is
        // not `DEAD`: the end of the device's own module waits for this, or has seen to it that
        // this is refused.
        let _entered = self.owner.enter()?;
        // The phase is read after it was seen that the owner is open.
        smp_mb(Read);
        if self.phase.load(Acquire) > LIVE || !self.owner.is_live() {
            return Err(ENODEV);
        }
        self.owner.pin()
    }
}

impl workqueue::WorkItem for Device {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        // `phase` is `LIVE` or `DEAD` when the work is queued again, by the drop of the
        // registration, which exists only if the device was registered.
        if this.device.as_ref().is_none() {
            this.run_registration();
        } else {
            this.run_deregistration();
        }
    }
}

/// Waits until the value of `word` is not `value`, for `left` jiffies at most, and returns how many
/// are left.
///
/// # Errors
///
/// * [`EBUSY`] if the time is over;
/// * [`EINTR`] if the current task is killed.
fn wait_while(word: &Atomic<u32>, value: u32, left: c_long) -> Result<c_long> {
    // SAFETY: The word is valid during the call.
    match unsafe { bindings::tether_wait_while(word.as_ptr(), value, left) } {
        0 => Err(EBUSY),
        left if left < 0 => Err(EINTR),
        left => Ok(left),
    }
}

/// A registration of a misc device.
///
/// The device is deregistered some time after the registration was dropped; from then on new files
/// are refused with `ENODEV`, but a call of `open` that has begun before may still run. A
/// registration that was leaked is ended together with its module. Open files are not affected by
/// either: they pin the module.
///
/// `T` is invariant, as it selects the functions that are called.
///
/// # Context
///
/// May be dropped in any context but NMI.
#[repr(transparent)]
pub struct MiscDeviceRegistration<T> {
    device: ManuallyDrop<Arc<Device>>,
    _t: PhantomData<*mut T>,
}

// SAFETY: There is no `T` in a registration, and a device may be deregistered by another task than
// the one that has registered it.
unsafe impl<T> Send for MiscDeviceRegistration<T> {}
// SAFETY: There is no `T` in a registration, and the only method on a shared reference returns a
// reference to a device, which is `Sync`.
unsafe impl<T> Sync for MiscDeviceRegistration<T> {}

impl<T: MiscDevice> MiscDeviceRegistration<T> {
    /// Registers a misc device.
    ///
    /// Files cannot be opened before the init of the driver's module has succeeded: a program that
    /// is started by the uevent of the device may get `ENODEV` until then.
    ///
    /// # Context
    ///
    /// Process context, may sleep.
    ///
    /// # Errors
    ///
    /// * those of `misc_register()`;
    /// * [`EDEADLK`] if the current task is in [`MiscDevice::open`];
    /// * [`EBUSY`] if the device could not be registered in ten seconds, because a task is in
    ///   `open` of a misc device, which may wait for the caller, or because devices are being
    ///   deregistered;
    /// * [`EINTR`] if the current task was killed;
    /// * [`ENODEV`] if the module of `T` is being unloaded, [`EINVAL`] if it is not known to
    ///   Tether;
    /// * [`EINVAL`] in an interrupt, or if the name is empty or longer than 255 bytes.
    #[doc(alias = "misc_register")]
    pub fn register(options: MiscDeviceOptions) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            let owner = Owner::of(Calls::<T>::release as *const ())?;
            let device =
                Device::register(options.name, owner, Calls::<T>::TABLE, Calls::<T>::WHAT)?;
            Ok(try_init!(Self {
                device: ManuallyDrop::new(device),
                _t: PhantomData,
            }? Error))
        })
    }

    /// Returns the device in sysfs.
    ///
    /// It stays valid after the registration was ended together with its module.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn device(&self) -> &device::Device {
        // SAFETY: `misc_register()` has set the field, which is not changed afterwards. The device
        // in sysfs is referenced by `misc_register()` during a call of `open`, which
        // `misc_deregister()` waits for; and by the device here, which this registration refers to,
        // if `register()` has returned it.
        unsafe { device::Device::from_raw((*self.device.misc.get()).this_device) }
    }
}

impl<T> Drop for MiscDeviceRegistration<T> {
    fn drop(&mut self) {
        // The reference is handed on, so that the last one is never dropped in an interrupt.
        //
        // SAFETY: The field is not used afterwards.
        unsafe { ManuallyDrop::take(&mut self.device) }.drop_registration();
    }
}

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
struct Operations(bindings::file_operations);

// SAFETY: The operations are never changed.
unsafe impl Sync for Operations {}

impl Operations {
    /// `owner` is null, as Tether cannot be unloaded.
    const fn new(poll: bool) -> Self {
        Self(bindings::file_operations {
            open: Some(open),
            release: Some(release),
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
static POLLED: Operations = Operations::new(true);
/// The operations of those that cannot: the kernel looks whether `poll` is there.
static PLAIN: Operations = Operations::new(false);

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

/// The longest name of a device in bytes, which is that of a file.
const NAME_MAX: usize = 255;

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
