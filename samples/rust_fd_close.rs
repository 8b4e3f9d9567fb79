// SPDX-License-Identifier: GPL-2.0

//! Rust sample: a device that closes file descriptors of its user.
//!
//! `ioctl(device, _IO(0xBB, 1), fd)` closes `fd`, as `close(fd)` does. `fd` may be the descriptor
//! of this ioctl itself, which is in use until the ioctl returns.
//! `drivers/android/binder/deferred_close.rs` serves the same purpose.

use kernel::{
    fs::File,
    ioctl::_IO,
    prelude::*, //
};
use tether::{
    fd,
    misc_device::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration,
        TransientFile, //
    },
    syscall::SyscallContext, //
};

module! {
    type: FdCloseModule,
    name: "rust_fd_close",
    authors: ["The Tether developers"],
    description: "Rust sample: closes descriptors of its user",
    license: "GPL",
}

const CLOSE: u32 = _IO(0xBB, 1);

#[pin_data]
struct FdCloseModule {
    #[pin]
    _device: MiscDeviceRegistration<Device>,
}

impl kernel::InPlaceModule for FdCloseModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions {
                name: c"rust-fd-close",
            }),
        })
    }
}

struct Device;

#[vtable]
impl MiscDevice for Device {
    type Ptr = KBox<Self>;

    fn open(_file: &TransientFile, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Self, GFP_KERNEL)?)
    }

    fn ioctl_in_syscall(
        _me: &Self,
        _file: &File,
        command: u32,
        argument: usize,
        context: &SyscallContext<'_>,
    ) -> Result<isize> {
        match command {
            CLOSE => {
                let fd = u32::try_from(argument).map_err(|_| EBADF)?;
                // The file is released after this task has left the system call.
                drop(fd::take(context, fd, GFP_KERNEL)?);
                Ok(0)
            }
            _ => Err(ENOTTY),
        }
    }
}
