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
//!             pin the module;                        call MiscDevice::open()
//! ioctl() and others:                                call the driver through the file's table
//! release():                                         call MiscDevice::release();
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
//!         PollTable,
//!         Ready,
//!         TransientFile, //
//!     },
//!     prelude::*,
//!     static_lock_class,
//!     sync::{
//!         atomic::{
//!             Atomic,
//!             Relaxed, //
//!         },
//!         poll::PollCondVarBox, //
//!     }, //
//! };
//!
//! struct Answer {
//!     asked: Atomic<bool>,
//!     /// Notified when `asked` becomes true.
//!     readable: PollCondVarBox,
//! }
//!
//! #[vtable]
//! impl MiscDevice for Answer {
//!     type Ptr = KBox<Self>;
//!
//!     fn open(_file: &TransientFile, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
//!         let answer = Self {
//!             asked: Atomic::new(false),
//!             readable: PollCondVarBox::new(c"answer", static_lock_class!())?,
//!         };
//!         Ok(KBox::new(answer, GFP_KERNEL)?)
//!     }
//!
//!     fn ioctl(me: &Self, _file: &File, _command: u32, _argument: usize) -> Result<isize> {
//!         me.asked.store(true, Relaxed);
//!         me.readable.notify_all();
//!         Ok(42)
//!     }
//!
//!     fn poll<'a>(me: &'a Self, _file: &File, table: &PollTable<'a>) -> Ready {
//!         table.register_wait(&me.readable);
//!         if me.asked.load(Relaxed) {
//!             Ready::READ
//!         } else {
//!             Ready::NOTHING
//!         }
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
    device,
    error::VTABLE_DEFAULT_ERROR,
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
    tether::Owner,
    types::ForeignOwnable, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop, //
};

// The external build needs the paths: its root includes this file by a path.
#[path = "misc_device/calls.rs"]
mod calls;
#[path = "misc_device/file.rs"]
mod file;
#[path = "misc_device/kiocb.rs"]
mod kiocb;
#[path = "misc_device/operations.rs"]
mod operations;
#[path = "misc_device/poll.rs"]
mod poll;
#[path = "misc_device/registration.rs"]
mod registration;

pub use crate::miscdevice::MiscDeviceOptions;
use calls::Calls;
pub use file::TransientFile;
pub use kiocb::Kiocb;
pub use poll::{
    PollTable,
    Ready, //
};
use registration::Device;

/// The private data of an open file of a misc device.
///
/// The methods are those of [`miscdevice::MiscDevice`](crate::miscdevice::MiscDevice), and also
/// [`flush`](MiscDevice::flush), [`poll`](MiscDevice::poll) and
/// [`ioctl_in_syscall`](MiscDevice::ioctl_in_syscall). To port a driver, change the imports, and
/// the type of the file in `open` and `release`.
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

    /// Called each time that a descriptor of the file is closed, also by the exit of a process.
    ///
    /// The result is that of `close()`, which closes the descriptor in any case. Other descriptors
    /// of the file may stay open.
    ///
    /// # Context
    ///
    /// Process context, may sleep. The current task may be exiting.
    fn flush(_device: <Self::Ptr as ForeignOwnable>::Borrowed<'_>, _file: &File) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
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
    /// A file that can be written must report [`Ready::WRITE`]: a write by io_uring is not passed
    /// to `write_iter` before.
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
    flush: Option<unsafe fn(*mut c_void, *mut bindings::file) -> Result>,
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
        Self::register_as(options, 0)
    }

    /// Registers a misc device, with permissions for its node in `/dev`, for example `0o666`.
    ///
    /// By default, only root may open the device. udev may change the permissions afterwards.
    ///
    /// # Context
    ///
    /// Process context, may sleep.
    ///
    /// # Errors
    ///
    /// As for [`MiscDeviceRegistration::register`]; and [`EINVAL`] if `mode` has other bits than
    /// the nine permissions, or none.
    pub fn register_with_mode(options: MiscDeviceOptions, mode: u16) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            // For the kernel, 0 means its default.
            if !(1..=0o777).contains(&mode) {
                return Err(EINVAL);
            }
            Ok(Self::register_as(options, mode))
        })
    }

    fn register_as(options: MiscDeviceOptions, mode: u16) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            let owner = Owner::of(Calls::<T>::release as *const ())?;
            let device = Device::register(
                options.name,
                mode,
                owner,
                Calls::<T>::TABLE,
                Calls::<T>::ATTACHMENT_OPS,
            )?;
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
