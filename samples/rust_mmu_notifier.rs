// SPDX-License-Identifier: GPL-2.0

//! Rust MMU notifier sample: counts the invalidated bytes of a process.
//!
//! A process that has opened `/dev/rust-mmu-notifier` reads the number of bytes of its address
//! space that were invalidated (unmapped, moved, protected...) since then:
//!
//! ```sh
//! exec 3</dev/rust-mmu-notifier; head -n 1 <&3
//! ```

use kernel::{
    iov::IovIterDest,
    prelude::*,
    str::CString,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};
use tether::misc_device::{
    Kiocb,
    MiscDevice,
    MiscDeviceOptions,
    MiscDeviceRegistration,
    TransientFile, //
};
use tether::mm::mmu_notifier::{
    InvalidateRanges,
    MmuNotifier,
    MmuNotifierRange,
    Ranges,
    Registration, //
};

module! {
    type: MmuNotifierModule,
    name: "rust_mmu_notifier",
    authors: ["The Tether developers"],
    description: "Rust MMU notifier sample",
    license: "GPL",
}

#[pin_data]
struct MmuNotifierModule {
    #[pin]
    _device: MiscDeviceRegistration<Counter>,
}

impl kernel::InPlaceModule for MmuNotifierModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions {
                name: c"rust-mmu-notifier",
            }),
        })
    }
}

struct Counter {
    bytes: Atomic<usize>,
}

impl MmuNotifier for Counter {
    type Callbacks = Ranges;
}

#[vtable]
impl InvalidateRanges for Counter {
    fn invalidate_range_start(&self, range: &MmuNotifierRange<'_>) {
        self.bytes.fetch_add(range.end() - range.start(), Relaxed);
    }
}

#[vtable]
impl MiscDevice for Counter {
    type Ptr = Pin<KBox<Registration<Counter>>>;

    fn open(_file: &TransientFile, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        let counter = Counter {
            bytes: Atomic::new(0),
        };
        KBox::pin_init(Registration::new(mm, counter), GFP_KERNEL_ACCOUNT)
    }

    fn read_iter(mut kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let bytes = kiocb.file().get_ref().notifier().bytes.load(Relaxed);
        let text = CString::try_from_fmt(fmt!("{bytes}\n"))?;
        iov.simple_read_from_buffer(kiocb.ki_pos_mut(), text.to_bytes())
    }
}
