// SPDX-License-Identifier: GPL-2.0

//! Misc devices that can be polled.
//!
//! [`MiscDevice`] has no `poll`, and does not tell a `read` whether it may wait. A
//! [`PollMiscDevice`] adds these; the rest is as in [`miscdevice`].
//!
//! C headers: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h),
//! [`include/linux/poll.h`](srctree/include/linux/poll.h).
//!
//! [`miscdevice`]: crate::miscdevice

use crate::{
    bindings,
    container_of,
    error::to_result,
    fs::{
        File,
        Kiocb, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions, //
    },
    prelude::*,
    sync::poll::PollTable,
    tether::{
        Attachment,
        Owner,
        What, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};
use core::{
    any::type_name,
    marker::PhantomData, //
};

/// What a file is ready for (`EPOLLIN` and others in
/// [`include/uapi/linux/eventpoll.h`](srctree/include/uapi/linux/eventpoll.h)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready(u32);

impl Ready {
    /// Nothing.
    pub const NOTHING: Self = Self(0);
    /// There is something to read (`EPOLLIN | EPOLLRDNORM`).
    pub const READ: Self = Self(0x1 | 0x40);
    /// There will never be anything more (`EPOLLHUP`).
    pub const HANG_UP: Self = Self(0x10);
    /// It is of no use (`EPOLLERR`).
    pub const ERROR: Self = Self(0x8);
}

impl core::ops::BitOr for Ready {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A misc device whose files can be polled.
pub trait PollMiscDevice: MiscDevice {
    /// What the file is ready for; registers with whatever will tell when that changes, first.
    fn poll(
        device: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        file: &File,
        table: &PollTable<'_>,
    ) -> Ready;
}

/// Whether a read must not wait: the file was opened with `O_NONBLOCK`.
pub fn is_nonblocking<T: ForeignOwnable>(kiocb: &Kiocb<'_, T>) -> bool {
    // SAFETY: A `Kiocb` is valid and has a valid file.
    let flags = unsafe { (*(*kiocb.as_raw()).ki_filp).f_flags };
    flags & crate::fs::file::flags::O_NONBLOCK != 0
}

/// A registration of a misc device that can be polled.
///
/// # Invariants
///
/// `inner` is registered from the end of its initialisation until `attachment` is taken off its owner's
/// list.
#[pin_data(PinnedDrop)]
pub struct PollMiscDeviceRegistration<T> {
    // A `MiscDeviceRegistration<T>` is just that, which is made of what is in here when a file is opened.
    #[pin]
    inner: Opaque<bindings::miscdevice>,
    #[pin]
    attachment: Attachment,
    _t: PhantomData<T>,
}

// SAFETY: A device may be deregistered on another thread than where it was registered.
unsafe impl<T> Send for PollMiscDeviceRegistration<T> {}
// SAFETY: There are no methods on a shared reference.
unsafe impl<T> Sync for PollMiscDeviceRegistration<T> {}

impl<T: PollMiscDevice> PollMiscDeviceRegistration<T> {
    const FOPS: bindings::file_operations = {
        let raw = MiscDeviceOptions { name: c"" }.into_raw::<T>();
        bindings::file_operations {
            poll: Some(Self::poll_callback),
            // SAFETY: `into_raw` sets it to a constant.
            ..unsafe { *raw.fops }
        }
    };

    const WHAT: &'static What = &What {
        kind: "misc_device",
        name: type_name::<T>,
        request: None,
        end: Self::end,
        discard: None,
        release: None,
    };

    /// Registers a misc device. Sleeps. It is deregistered when its module goes, if it was leaked.
    ///
    /// # Errors
    ///
    /// * those of `misc_register()`;
    /// * [`ENODEV`] if the module of `T` is going, [`EINVAL`] if it is not known to Tether.
    #[doc(alias = "misc_register")]
    pub fn register(options: MiscDeviceOptions) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            let owner = Owner::of(Self::end as *const ())?;
            Ok::<_, Error>(
                try_pin_init!(Self {
                    inner <- Opaque::ffi_init(move |slot: *mut bindings::miscdevice| {
                        let mut raw = options.into_raw::<T>();
                        raw.fops = &Self::FOPS;
                        // SAFETY: `slot` is valid for writes.
                        unsafe { slot.write(raw) };
                    }),
                    attachment <- Attachment::new(owner, Self::WHAT),
                    _t: PhantomData,
                }? Error)
                .pin_chain(|this| {
                    // SAFETY: What was just written is a device; it is pinned, and deregistered before
                    // it goes.
                    let register =
                        || to_result(unsafe { bindings::misc_register(this.inner.get()) });
                    // SAFETY: Its drop detaches it first, and it is pinned.
                    unsafe { this.attachment.attach(register) }
                }),
            )
        })
    }

    /// # Safety
    ///
    /// As [`What::end`] says.
    unsafe fn end(attachment: *const Attachment) {
        // SAFETY: The attachment is in a registration, which is valid until it was ended.
        let this = unsafe { &*container_of!(attachment.cast_mut(), Self, attachment) };
        // SAFETY: It is registered, by the type's invariants: the owner's end has taken the attachment
        // off its list just now.
        unsafe { bindings::misc_deregister(this.inner.get()) };
    }

    /// # Safety
    ///
    /// `file` must be an open file of this device, `table` null or valid.
    unsafe extern "C" fn poll_callback(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: The file is one of this device, open, with the private data that `open` has put
        // there, which is `T::Ptr`.
        let device = unsafe { <T::Ptr as ForeignOwnable>::borrow((*file).private_data) };
        // SAFETY: The file is valid for the duration of this call, and there is no active
        // fdget_pos region on it on this thread.
        let file = unsafe { File::from_raw_file(file) };
        // SAFETY: The table is null or valid for the duration of this call.
        let table = unsafe { PollTable::from_raw(table) };
        T::poll(device, file, &table).0
    }
}

#[pinned_drop]
impl<T> PinnedDrop for PollMiscDeviceRegistration<T> {
    fn drop(self: Pin<&mut Self>) {
        // It is not attached if registering has failed.
        if let Some(_entered) = self.attachment.detach() {
            // SAFETY: It is registered, by the type's invariants: we have taken the attachment off its
            // owner's list just now.
            unsafe { bindings::misc_deregister(self.inner.get()) };
        }
    }
}
