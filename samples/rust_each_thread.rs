// SPDX-License-Identifier: GPL-2.0

//! Rust sample: runs a closure in each thread of a process, and waits for all of them.
//!
//! A read of `/dev/rust-each-thread` returns two `u32` for each thread of the reader's process: its
//! thread id, and the CPU that it was on when it recorded itself. Each thread records itself, in
//! its own context. When the read returns, all threads have passed through the kernel since the
//! read has begun. Landlock and membarrier do such work for all threads of a process.
//!
//! The read fails with `ETIMEDOUT` if a thread cannot run for a second, for example because it
//! reads this device at the same time.

use kernel::{
    cpu::CpuId,
    iov::IovIterDest,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::Delta, //
};
use tether::misc_device::{
    Kiocb,
    MiscDevice,
    MiscDeviceOptions,
    MiscDeviceRegistration,
    TransientFile, //
};
use tether::{
    pid::Numbering,
    task_work::{
        self,
        Context, //
    }, //
};

module! {
    type: EachThreadModule,
    name: "rust_each_thread",
    authors: ["The Tether developers"],
    description: "Rust sample: runs a closure in each thread of a process",
    license: "GPL",
}

#[pin_data]
struct EachThreadModule {
    #[pin]
    _device: MiscDeviceRegistration<Device>,
}

impl kernel::InPlaceModule for EachThreadModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let name = c"rust-each-thread";
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions { name }),
        })
    }
}

type Records = Arc<Pin<KBox<Mutex<KVVec<[u32; 2]>>>>>;

struct Device;

#[vtable]
impl MiscDevice for Device {
    type Ptr = KBox<Self>;

    fn open(_file: &TransientFile, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Self, GFP_KERNEL)?)
    }

    fn read_iter(_kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let own = current!();
        let records: Records = Arc::new(
            KBox::pin_init(new_mutex!(KVVec::new()), GFP_KERNEL_ACCOUNT)?,
            GFP_KERNEL_ACCOUNT,
        )?;
        let (filled, numbering) = (records.clone(), Numbering::of_current());
        let record = move |context: &Context<'_>| {
            let (thread, _) = numbering.numbers(context.task());
            let record = [thread as u32, CpuId::current().as_u32()];
            // If there is no memory, the record is missed below.
            let _ = filled.lock().push(record, GFP_KERNEL_ACCOUNT);
        };
        let record = Arc::new(record, GFP_KERNEL_ACCOUNT)?;
        let called = task_work::in_each_thread(own, &record, Delta::from_secs(1))?;
        let mut records = records.lock();
        if records.len() < called {
            return Err(ENOMEM);
        }
        let (thread, _) = Numbering::of_current().numbers(own);
        let cpu = CpuId::current().as_u32();
        records.push([thread as u32, cpu], GFP_KERNEL_ACCOUNT)?;
        if iov.len() < records.len() * size_of::<[u32; 2]>() {
            return Err(ENOSPC);
        }
        let bytes = records.as_bytes();
        if iov.copy_to_iter(bytes) != bytes.len() {
            return Err(EFAULT);
        }
        Ok(bytes.len())
    }
}
