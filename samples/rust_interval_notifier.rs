// SPDX-License-Identifier: GPL-2.0

//! Rust interval notifier sample: does this memory still hold what it held?
//!
//! A process writes two native `u64` to `/dev/rust-interval-notifier`, the address and the length
//! of a range of its memory. What it reads back is `1` until something in the range was unmapped,
//! moved, protected or replaced, and `0` from then on; a cache of registrations asks just this. A
//! second write begins again.

use kernel::{
    fs::{
        File,
        Kiocb, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    new_mutex,
    prelude::*,
    sync::Mutex, //
};
use tether::mm::{
    interval_notifier::{
        new_interval_notifier,
        IntervalNotifier,
        Registration, //
    },
    mmu_notifier::Range, //
};

module! {
    type: IntervalNotifierModule,
    name: "rust_interval_notifier",
    authors: ["The Tether developers"],
    description: "Rust interval notifier sample",
    license: "GPL",
}

#[pin_data]
struct IntervalNotifierModule {
    #[pin]
    _device: MiscDeviceRegistration<Device>,
}

impl kernel::InPlaceModule for IntervalNotifierModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions {
                name: c"rust-interval-notifier",
            }),
        })
    }
}

/// The shadow of the range is whether all of it is as it was.
struct Validity;

impl IntervalNotifier for Validity {
    type Shadow = bool;

    fn invalidate(&self, _range: &Range<'_>, valid: &mut bool) {
        *valid = false;
    }
}

#[pin_data]
struct Device {
    #[pin]
    registration: Mutex<Option<Pin<KBox<Registration<Validity>>>>>,
}

#[vtable]
impl MiscDevice for Device {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        KBox::pin_init(
            pin_init!(Self { registration <- new_mutex!(None) }),
            GFP_KERNEL,
        )
    }

    fn write_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        if iov.len() != size_of::<[usize; 2]>() {
            return Err(EINVAL);
        }
        let mut range = KVVec::new();
        let length = iov.copy_from_iter_vec(&mut range, GFP_KERNEL)?;
        let [start, size] = <[usize; 2]>::read_from_bytes(&range).map_err(|_| EINVAL)?;
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        let registration = KBox::pin_init(
            new_interval_notifier!(mm, start, size, Validity, false),
            GFP_KERNEL,
        )?;
        // Nothing to look up: that the range is quiet is all there is to know.
        registration.read(|| Ok(()), |(), valid| *valid = true)?;
        let old = kiocb
            .file()
            .get_ref()
            .registration
            .lock()
            .replace(registration);
        // Outside of the lock: it waits for invalidations.
        drop(old);
        Ok(length)
    }

    fn read_iter(mut kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let valid = {
            let registration = kiocb.file().get_ref().registration.lock();
            registration
                .as_ref()
                .ok_or(EINVAL)?
                .with_shadow(|valid| *valid)
        };
        iov.simple_read_from_buffer(kiocb.ki_pos_mut(), if valid { b"1\n" } else { b"0\n" })
    }
}
